"""Web application 2: images come in by WebSocket, from machines that send many. See docs/streams.md."""
