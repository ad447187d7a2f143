"""A model folder that the end-to-end tests add to their checkout."""
