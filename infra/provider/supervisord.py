"""supervisord that a full disk does not end: `python -I supervisord.py -c FILE`.

Where a line cannot be written to a log, supervisor prints why on its standard error. That is a file on the same disk,
so that printing fails too, and what was to be said about a log line ends supervisord with everything it runs, the
models that are served above all. Here lines that find no place are lost, and it writes again when there is room.

A program of its own, which imports nothing of the project: it runs isolated from the folder it is started in.
"""

import contextlib
import sys
from typing import Any, TextIO

from supervisor import loggers, supervisord


class Lossy:
    """A text stream that drops what cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if it can be."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def roll_over_if_possible(handler: Any) -> None:
    """Take the place of `RotatingFileHandler.doRollover`: a log that cannot be put aside is written on."""
    try:
        _roll_over(handler)
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            handler.stream = open(handler.baseFilename, "ab")  # noqa: PTH123, SIM115 - as in the library


_roll_over = loggers.RotatingFileHandler.doRollover


def main() -> None:
    """Become supervisord."""
    sys.stderr = Lossy(sys.stderr)
    loggers.RotatingFileHandler.doRollover = roll_over_if_possible
    supervisord.main()


if __name__ == "__main__":
    main()
