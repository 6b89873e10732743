"""The sub-second lane: each image named as it arrives, and answered on a topic. See docs/recogniser.md."""
