"""The chain of schema `signin`: who is signed in, and nothing beside. Rights are the policy's matter."""
