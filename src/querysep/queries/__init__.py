"""From what a user means to a condition."""
