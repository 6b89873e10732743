"""Who may do what, as it stands at each enforcement point."""
