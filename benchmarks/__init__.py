"""What is measured, with peers in the same run. Every figure in the docs comes from a command here."""
