"""Upkeep: what keeps the tables quick and the projection true; it changes no row of any asset."""
