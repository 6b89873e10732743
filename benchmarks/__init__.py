"""What things cost, measured: `python -m benchmarks` against a running stack (settings from the environment)."""
