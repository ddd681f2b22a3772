"""What a user would take instead of ours: each a small program of its own, as its documentation shows it."""
