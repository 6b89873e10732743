"""The chain of schema `images`."""
