"""What networks learn from data, and where it stops."""
