"""Pure functions: Arrow or Polars in, Arrow or Polars out. No I/O, no clock, no Dagster."""
