"""The laptop: every server of Darkroom as a local process, started, watched, reconciled and stopped."""
