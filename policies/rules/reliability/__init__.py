"""What survives the loss of a part."""
