"""What the practices cost, measured side by side with what a user would take instead. ``python -m bench``."""
