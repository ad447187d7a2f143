"""Who answers, who approved, and where it may run."""
