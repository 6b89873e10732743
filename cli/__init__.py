"""The `darkroom` command: options in, one call of a room below, plain words out."""
