"""What a trial looks like while it runs: a small chart in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.demo.trial import LOOK_SECONDS, Sample

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH = 60
_LINE_SECONDS = 2.0


def sparkline(values: list[float], top: float) -> str:
    """Return a value per character, 0 to `top`; what is above 0 is never blank."""
    shown = []
    for value in values:
        part = min(max(value / top, 0.0), 1.0) if top > 0 else 0.0
        shown.append(_BLOCKS[max(1, round(part * (len(_BLOCKS) - 1)))] if part > 0 else _BLOCKS[0])
    return "".join(shown)


class Chart:
    """Shows samples as they come; a context manager."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._samples: deque[Sample] = deque(maxlen=_WIDTH)
        self._live: Live | None = None
        self._said, self._line = 0, (-_LINE_SECONDS, "")

    def __enter__(self) -> Chart:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.__enter__()
        else:
            self._console.print(escape(self._title))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def look(self, sample: Sample, seen: Mapping[str, Any]) -> None:
        """Show one more look and what the controller has said since the last one."""
        self._samples.append(sample)
        rollout = seen.get("rollout") or {}
        news = [one for one in rollout.get("messages") or [] if int(one["seq"]) > self._said]
        for one in news:
            self._said = int(one["seq"])
            self._console.print(escape(f"{sample.at:6.1f} s  {one['text']}"), style="dim")
        if self._live is not None:
            self._live.update(self._drawn(), refresh=True)
        elif sample.at - self._line[0] >= _LINE_SECONDS or sample.phase != self._line[1]:
            self._line = (sample.at, sample.phase)
            self._console.print(escape(f"{sample.at:6.1f} s  {_words(sample)}"))

    def _drawn(self) -> Panel:
        samples, last = list(self._samples), self._samples[-1]
        fastest = max(one.per_second for one in samples)
        failures = [float(one.candidate_failures) for one in samples]
        table = Table(box=None, pad_edge=False, show_header=False)
        for style in ("", "bold", "cyan"):
            table.add_column(style=style, no_wrap=True)
        table.add_row("candidate's share", f"{last.share:4.0%}", sparkline([one.share for one in samples], 1.0))
        table.add_row("requests/s", f"{last.per_second:4.0f}", sparkline([one.per_second for one in samples], fastest))
        table.add_row("candidate failures", f"{last.candidate_failures:4d}", sparkline(failures, max(*failures, 1.0)))
        table.add_row(
            "user failures", f"{last.user_failures:4d}",
            sparkline([float(one.user_failures) for one in samples], max(1.0, last.user_failures)),
        )  # fmt: skip
        head = Text.assemble(("phase ", "dim"), (last.phase, "bold"), (f"   {last.at:.1f} s", "dim"))
        span = f"{len(samples) * LOOK_SECONDS:.0f} s"
        return Panel(Group(head, table), title=escape(self._title), subtitle=f"the last {span}", expand=False)


def _words(sample: Sample) -> str:
    return (
        f"{sample.phase}: candidate's share {sample.share:.0%}, {sample.per_second:.0f} requests/s, "
        f"{sample.candidate_failures} candidate failures, {sample.user_failures} user failures"
    )
