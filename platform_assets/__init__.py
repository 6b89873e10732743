"""What exists: the assets of the platform, by group. `definitions.py` gathers them; nothing is read at import."""
