"""The shop: its tables in PostgreSQL, every change of an item, the item dimension, and the insights."""
