"""What a release needs so that it can be taken back."""
