"""Faults that the layer injects: a call is throttled or refused, some times or always."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


@dataclass
class Fault:
    """One fault.

    Attributes:
        operation: Which calls, for example `ec2.CreateSubnet` or `ec2.*`.
        code: The error code that they get.
        message: Its text.
        times: How many calls still get it; negative for all.
        status: HTTP status.
        skip: How many calls pass before the first.
    """

    operation: str
    code: str = "ThrottlingException"
    message: str = "Rate exceeded"
    times: int = 1
    status: int = 400
    skip: int = 0


class Faults:
    """The faults in force."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def set(self, faults: list[dict[str, Any]]) -> None:
        """Put others in force."""
        with self._lock:
            self._faults = [Fault(**fault) for fault in faults]

    def take(self, operation: str) -> Fault | None:
        """Return the fault that a call gets, and count it."""
        with self._lock:
            for fault in self._faults:
                if fault.times == 0 or not fnmatchcase(operation, fault.operation):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None
