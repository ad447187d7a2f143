"""The report of trials: a chart of each as PNG, and one HTML page that holds everything."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.demo.faults import FAULTS
from infra.demo.trial import Outcome

PAGE = "release-demo.html"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { text-align: left; padding: .3rem .8rem .3rem 0 }
th { border-bottom: 1px solid #999 } td { border-bottom: 1px solid #ddd } img { max-width: 100% }
.good { color: #17692b } .bad { color: #a8071a } ol { font-family: ui-monospace, monospace; font-size: 13px }
"""


def write(folder: Path, outcomes: Sequence[Outcome]) -> list[Path]:
    """Write the charts and the page; return the files, the page first.

    Args:
        folder: made if it is not there; files of an earlier report are replaced.
        outcomes: the trials, in order.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    charts = []
    for outcome in outcomes:
        chart = folder / f"release-demo-{outcome.fault}.png"
        _draw(outcome, chart)
        charts.append(chart)
    page = folder / PAGE
    page.write_text(_page(outcomes, [chart.read_bytes() for chart in charts]), encoding="utf-8")
    return [page, *charts]


def _draw(outcome: Outcome, file: Path) -> None:
    # Imported here: it takes a second, which no other command should wait for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    times = [one.at for one in outcome.samples]
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(3, 1, sharex=True)
    axes[0].fill_between(times, [100 * one.share for one in outcome.samples], step="mid", color="#4c78a8", alpha=0.6)
    axes[0].set(ylabel="candidate's share\nof answers, %", ylim=(0, 100))
    axes[1].plot(times, [one.per_second for one in outcome.samples], color="#54565a")
    axes[1].set(ylabel="users' requests/s", ylim=(0, None))
    axes[2].step(times, [one.candidate_failures for one in outcome.samples], color="#e45756", label="of the candidate")
    axes[2].step(times, [one.user_failures for one in outcome.samples], color="#222222", lw=2, label="seen by users")
    axes[2].set(ylabel="failures so far", xlabel="seconds since the release was asked for", ylim=(0, None))
    axes[2].legend(loc="upper left", frameon=False)
    for at, text in outcome.messages:
        phase = text.split(":")[0]
        if phase in ("analysing", "promoting", "rolling-back", "rolled-back", "paused"):
            for axis in axes:
                axis.axvline(at, color="#bbbbbb", lw=0.8, ls="--", zorder=0)
            axes[0].annotate(phase, (at, 96), rotation=90, va="top", ha="right", fontsize=7, color="#666666")
    figure.suptitle(f"{FAULTS[outcome.fault].said}: {outcome.state}")
    figure.savefig(file, dpi=110, metadata={"Software": None})


def _page(outcomes: Sequence[Outcome], charts: Sequence[bytes]) -> str:
    rows = "".join(
        f"<tr><td>{_text(one.fault)}</td><td>{_text(one.state)}</td><td>{one.user_requests:,}</td>"
        f'<td class="{"bad" if one.user_failures else "good"}">{one.user_failures}</td>'
        f"<td>{one.candidate_requests:,}</td><td>{_seconds(one.seconds_to_decision)}</td>"
        f"<td>{_seconds(one.seconds_to_stable)}</td></tr>"
        for one in outcomes
    )
    parts = "".join(_section(one, chart) for one, chart in zip(outcomes, charts, strict=True))
    heads = (
        "fault",
        "ended",
        "users' requests",
        "failed ones",
        "candidate requests",
        "s to decision",
        "s to stable",
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Releases that are broken on purpose</title><style>{_STYLE}</style></head>"
        "<body><h1>Releases that are broken on purpose</h1>"
        "<p>Each was signed, approved and rolled out like any other release, while users asked the real service.</p>"
        f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table>{parts}</body></html>\n"
    )


def _section(outcome: Outcome, chart: bytes) -> str:
    image = base64.b64encode(chart).decode("ascii")
    said = "".join(f"<li>{at:.1f} s: {_text(text)}</li>" for at, text in outcome.messages)
    ban = "its digest is quarantined" if outcome.quarantined else "its digest is not quarantined"
    return (
        f"<h2>{_text(outcome.fault)}</h2><p>{_text(FAULTS[outcome.fault].said)}. Version {_text(outcome.version)} "
        f"({_text(outcome.digest[:19])}), {_text(outcome.strategy)}: {_text(outcome.state)}, {ban}.</p>"
        f"<p>{_text(outcome.reason)}</p>"
        f'<img alt="share, requests and failures over time" src="data:image/png;base64,{image}"><ol>{said}</ol>'
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _text(value: str) -> str:
    return html.escape(value)
