"""Refusal of secrets: what enters the ledger can't be removed again, and everybody who audits reads it.

This catches what gets in by carelessness (a header, a password in a message), by the name of a key and by the form of a
value. It can't know every secret: callers still choose what they write.
"""

import re
from typing import Any

_NAME = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|authorization|cookie|api[-_]?key|private[-_]?key|access[-_]?key",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS access keys
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}|\bglpat-[A-Za-z0-9_-]{20,}|\bxox[abpr]-[A-Za-z0-9-]{10,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."  # JSON web tokens
    r"|\b(?:bearer|basic)\s+(?=\S*\d)[A-Za-z0-9+/_.=-]{16,}"
    r"|://[^/\s:@]+:[^/\s@]+@"  # a password inside a URL
    r"|\b(?:password|passphrase|secret|token|api[-_]?key)\s*[=:]\s*\S{6,}",
    re.IGNORECASE,
)


class SecretRefusedError(ValueError):
    """An event holds what looks like a secret; the message names the place, never the value."""


def redact(text: str) -> str:
    """Take what looks like a secret out of free text that others wrote, such as the message of an exception.

    For text of that kind: an audit event must not be lost because a library put a URL with a password into its message.
    """
    return _VALUE.sub("[removed]", text)


def refuse_secrets(data: Any, where: str = "event") -> None:
    """Raise if a name or value anywhere in JSON `data` looks like a secret.

    Raises:
        SecretRefusedError: with the path of the first such place.
    """
    if isinstance(data, str):
        if _VALUE.search(data):
            raise SecretRefusedError(f"{where}: the value looks like a secret; the ledger keeps everything for ever")
    elif isinstance(data, dict):
        for key, value in data.items():
            # A number or a flag under such a name says something about a secret and is none.
            if _NAME.search(key) and isinstance(value, (str, list, dict)) and value:
                raise SecretRefusedError(
                    f"{where}.{key}: by its name this is a secret; leave it out, or name its fingerprint"
                )
            refuse_secrets(value, f"{where}.{key}")
    elif isinstance(data, list):
        for index, value in enumerate(data):
            refuse_secrets(value, f"{where}[{index}]")
