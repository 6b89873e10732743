"""The platform under load while faults strike at random from a seed, and what clients were told compared with what is.

In the style of Jepsen: clients keep what they were told, a nemesis strikes, and a checker reads the tables back with
polars. `python -m tests.soak --help`, or `make soak MINUTES=30 SEED=7`; the same seed gives the same plan.
"""
