"""The ledger as JSON Lines: what an auditor takes along, and can verify without the database.

    {"type": "ledger", "ledger": …, "format": 1, "exportedAt": …}
    {"type": "checkpoint", …}   all of them, so that the entries after them can be judged in one pass
    {"type": "entry", …}        all of them, in order
    {"type": "end", "entries": …, "checkpoints": …}

A file that was cut off lacks its last line. One that was cut off and given a new last line still can't lose what its
checkpoints cover; to notice lost checkpoints too, compare the number and the date up to which it is sealed.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from policies.ledger.chain import Entry, timestamp
from policies.ledger.checkpoint import Checkpoint
from policies.ledger.verification import Finding, Report, verify
from policies.releases.record import canonical
from policies.releases.signing import PublicKey

_FORMAT = 1


def export_lines(
    ledger: str, entries: Iterable[Entry], checkpoints: Iterable[Checkpoint], exported_at: datetime
) -> Iterator[str]:
    """Write a ledger, line by line, each with its newline.

    Args:
        ledger: the ledger's id.
        entries: all entries in order, read after the checkpoints, so that none of those is about an entry that lacks.
        checkpoints: all checkpoints.
        exported_at: the time.
    """
    yield _line({"type": "ledger", "ledger": ledger, "format": _FORMAT, "exportedAt": timestamp(exported_at)})
    sealed = count = 0
    for checkpoint in checkpoints:
        sealed += 1
        yield _line({"type": "checkpoint", **checkpoint.to_json()})
    for entry in entries:
        count += 1
        yield _line({"type": "entry", **entry.to_json()})
    yield _line({"type": "end", "entries": count, "checkpoints": sealed})


def verify_export(lines: Iterable[str], keys: Collection[PublicKey]) -> Report:
    """Verify an export, in one pass.

    Args:
        lines: its lines.
        keys: the keys that may sign checkpoints.
    """
    reader = _Reader(lines)
    ledger = reader.header()
    checkpoints = list(reader.checkpoints())
    report = verify(ledger, reader.entries(), checkpoints, keys)
    if not report.findings:  # otherwise the pass stopped before the end
        reader.end(report.entries, len(checkpoints))
    return replace(report, findings=(*reader.findings, *report.findings))


class _Reader:
    """Takes lines one after the other and notes what is wrong with them instead of raising."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = enumerate(lines, 1)
        self._next: tuple[int, dict[str, Any]] | None = None
        self.findings: list[Finding] = []

    def header(self) -> str:
        data = self._take("ledger")
        if data is None or data.get("format") != _FORMAT or not isinstance(data.get("ledger"), str):
            self.findings.append(Finding(f"line 1: not the export of a ledger in format {_FORMAT}"))
            return ""
        return str(data["ledger"])

    def checkpoints(self) -> Iterator[Checkpoint]:
        while (data := self._take("checkpoint")) is not None:
            try:
                yield Checkpoint.model_validate(data)
            except ValueError as error:
                self.findings.append(Finding(f"checkpoint at entry {data.get('seq')}: {error}"))

    def entries(self) -> Iterator[Entry]:
        while (data := self._take("entry")) is not None:
            seq = data.get("seq")
            if not isinstance(seq, int):
                self.findings.append(Finding(f"an entry has {seq!r} as its number"))
                return
            try:
                entry = Entry(**(data | {"what": canonical(data["what"]).decode()}))
            except (KeyError, TypeError, ValueError) as error:
                self.findings.append(Finding(f"entry {seq}: not an entry: {error}", seq, seq))
                return
            yield entry

    def end(self, entries: int, checkpoints: int) -> None:
        data = self._take("end")
        if data is None:
            where = "is cut off" if self._next is None else f"line {self._next[0]} has no place here"
            self.findings.append(Finding(f"the export {where}"))
        elif data != {"entries": entries, "checkpoints": checkpoints}:
            self.findings.append(Finding(f"the export says that it holds {data}, which it does not"))
        if next(self._lines, None) is not None:
            self.findings.append(Finding("the export goes on after its last line"))

    def _take(self, kind: str) -> dict[str, Any] | None:
        """Return the next line without its type if it is of that kind."""
        if self._next is None:
            number, line = next(self._lines, (0, ""))
            if number == 0:
                return None
            try:
                data = json.loads(line)
            except ValueError:
                data = None
            self._next = number, data if isinstance(data, dict) else {}
        data = self._next[1]
        if data.get("type") != kind:
            return None
        self._next = None
        return {name: value for name, value in data.items() if name != "type"}


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"
