"""What every door shares: an image comes in by some protocol, and leaves sealed, acknowledged by the broker.

A door of a protocol (services/uploads for HTTP, services/streams for WebSockets) reads bytes and renders answers; all
that decides is here, and so is what every door shows outside: health, counters, log lines, TLS.
"""
