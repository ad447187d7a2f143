"""What it may cost."""
