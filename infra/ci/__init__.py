"""What pipelines run without the project's environment: plain Python, nothing of the change under review."""
