"""Mortgage approval in Boston: see `model.py`."""
