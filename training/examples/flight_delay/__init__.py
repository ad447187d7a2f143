"""Departure delays from New York: see `model.py`."""
