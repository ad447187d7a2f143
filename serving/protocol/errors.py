"""The one error that a request can be answered with."""

import orjson


class ProtocolError(Exception):
    """A request that is refused or that failed: an HTTP status and one sentence for the caller.

    `invalid` says that the model answered, but with what is no answer (not finite).
    """

    def __init__(self, status: int, message: str, *, invalid: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.invalid = invalid


def bad(message: str) -> ProtocolError:
    """Return a 400 with this message."""
    return ProtocolError(400, message)


def error_body(message: str) -> bytes:
    """Return the protocol's error form."""
    return orjson.dumps({"error": message})


def shorten(value: object, limit: int = 80) -> str:
    """Show a value of a request in a message without repeating a huge one."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
