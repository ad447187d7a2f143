"""Password hashes for Prometheus, the same each time, so that the preview of an unchanged environment is empty."""

from __future__ import annotations

import hashlib

import bcrypt

_COST = 4
"""The lowest there is: a cost slows guessing down, and nobody guesses 256 random bits."""


def password_hash(password: str) -> str:
    """The bcrypt hash of a random password of at most 72 bytes.

    The salt is made from the password. That would tell two users with one password apart from others, which random
    passwords of one user do not have.
    """
    salt = hashlib.sha256(b"prometheus:" + password.encode()).hexdigest()[:21] + "."
    return bcrypt.hashpw(password.encode(), f"$2b${_COST:02d}${salt}".encode()).decode()
