"""Web application 1: images come in by HTTP, and their uploaders ask where they are. See docs/uploads.md."""
