"""Sign-in: a name and a password, proved by the directory, for a session and short-lived tokens."""
