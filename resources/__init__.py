"""The outside world, each part behind one small module: settings, lake, Kafka, keys, PostgreSQL, compute."""
