"""Processes beside Dagster: doors that images come in by."""
