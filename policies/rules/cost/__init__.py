"""What it costs: within the budget and the worst case, everything priced, nothing without a limit."""
