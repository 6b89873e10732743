"""Tests that drive the running stack from outside, as its users and its misfortunes do."""
