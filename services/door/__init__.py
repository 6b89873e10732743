"""What every door shares: an image comes in by some protocol, and leaves sealed, acknowledged by the broker.

A door of a protocol (services/uploads for HTTP) reads bytes and renders answers; all that decides is here.
"""
