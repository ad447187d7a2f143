"""Bearer tokens, compared in constant time."""

import hashlib
import hmac


class Bearer:
    """The token that callers must send as `authorization: Bearer <token>`; None lets everybody in."""

    def __init__(self, token: str | None) -> None:
        self._expected = None if token is None else b"Bearer " + token.encode()

    def allows(self, header: bytes | None) -> bool:
        """Say whether the value of an authorization header is the right one."""
        if self._expected is None:
            return True
        return header is not None and hmac.compare_digest(header, self._expected)


def derive(key: str, purpose: str) -> bytes:
    """Derive a key for one purpose, so that no two uses share one."""
    return hmac.new(key.encode(), purpose.encode(), hashlib.sha256).digest()


def sign(key: str, purpose: str, content: bytes) -> str:
    """Return the HMAC-SHA256 of `content` in hex under the key derived for `purpose`."""
    return hmac.new(derive(key, purpose), content, hashlib.sha256).hexdigest()
