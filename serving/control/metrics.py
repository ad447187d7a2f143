"""The counters of all replicas as a Prometheus text page.

Series depend on models, versions, outcomes and groups only, never on replicas or callers. Versions are shown by number;
which digest that is says mlops_model_version_info.
"""

from collections.abc import Iterable, Mapping

from serving.control.series import Key
from serving.counters import BUCKETS
from serving.state import State
from serving.traffic import CANDIDATE, SLOTS


def page(
    series: Mapping[Key, float], state: State, replicas: Mapping[str, int], *, unsealed: float | None = None
) -> str:
    """Return the page.

    Args:
        series: the counters.
        state: what is published.
        replicas: live replicas by group.
        unsealed: for how many seconds the ledger has lacked a checkpoint where it belongs; None where none are made.
    """
    lines: list[str] = []
    _head(lines, "mlops_predictions_total", "counter", "Requests for a prediction by model, version and outcome.")
    for (kind, model, version, outcome), value in series.items():
        if kind == "predictions":
            _line(lines, "mlops_predictions_total", {"model": model, "version": version, "outcome": outcome}, value)
    _histogram(lines, series)
    _head(lines, "mlops_capture_dropped_total", "counter", "Rows that were predicted but not captured.")
    for (kind, model, _, _), value in series.items():
        if kind == "dropped":
            _line(lines, "mlops_capture_dropped_total", {"model": model}, value)
    _head(lines, "mlops_shadow_copies_total", "counter", "Copies of requests for shadows, by what became of them.")
    for (kind, model, version, outcome), value in series.items():
        if kind == "shadow":
            _line(lines, "mlops_shadow_copies_total", {"model": model, "version": version, "outcome": outcome}, value)
    _head(lines, "mlops_rollouts_total", "counter", "Rollouts that ended, by model and how.")
    for (kind, model, _, outcome), value in series.items():
        if kind == "rollouts":
            _line(lines, "mlops_rollouts_total", {"model": model, "state": outcome}, value)
    _labels(lines, series)
    _head(lines, "mlops_model_version_info", "gauge", "Versions that are published, by their role.")
    for name, entry in state.models.items():
        roles = {"stable": entry.stable, "previous": entry.previous, "next": entry.next}
        beside = [(one.role, one.release) for one in entry.beside]
        for role, release in [*roles.items(), *beside]:
            if release is not None:
                labels = {"model": name, "version": release.version, "digest": release.digest, "role": role}
                _line(lines, "mlops_model_version_info", labels | {"group": release.group}, 1)
    _head(lines, "mlops_rollout_weight", "gauge", "Share of requests that the candidate of a rollout answers, 0 to 1.")
    for name, entry in state.models.items():
        if entry.candidates:
            weight = sum(length for arm, length in entry.split.runs if arm == CANDIDATE) / SLOTS
            _line(
                lines, "mlops_rollout_weight", {"model": name, "version": entry.candidates[0].release.version}, weight
            )
    _head(lines, "mlops_replicas", "gauge", "Replicas that have reported within 15 seconds, by group.")
    for group in sorted(replicas.keys() | set(_groups(state))):
        _line(lines, "mlops_replicas", {"group": group}, replicas.get(group, 0))
    _head(lines, "mlops_control_generation", "gauge", "Number of the published state.")
    _line(lines, "mlops_control_generation", {}, state.generation)
    if unsealed is not None:
        text = "For how long entries of the ledger have lacked a checkpoint where it belongs; 0 when none does."
        _head(lines, "mlops_ledger_unsealed_seconds", "gauge", text)
        _line(lines, "mlops_ledger_unsealed_seconds", {}, unsealed)
    return "\n".join(lines) + "\n"


def _histogram(lines: list[str], series: Mapping[Key, float]) -> None:
    name = "mlops_prediction_latency_seconds"
    _head(lines, name, "histogram", "Time from a request's arrival at the replica to its prediction, in seconds.")
    for kind, model, version, _ in list(series):
        if kind != "seconds":
            continue
        labels = {"model": model, "version": version}
        total = 0.0
        for index, bound in enumerate([*BUCKETS, float("inf")]):
            total += series.get(("bucket", model, version, str(index)), 0.0)
            shown = "+Inf" if bound == float("inf") else f"{bound:g}"
            _line(lines, f"{name}_bucket", labels | {"le": shown}, total)
        _line(lines, f"{name}_sum", labels, series["seconds", model, version, ""])
        _line(lines, f"{name}_count", labels, total)


def _labels(lines: list[str], series: Mapping[Key, float]) -> None:
    text = "Labels by what became of them: received, joined with a prediction, expired without one."
    _head(lines, "mlops_labels_total", "counter", text)
    for (kind, model, _, outcome), value in series.items():
        if kind == "labels":
            _line(lines, "mlops_labels_total", {"model": model, "outcome": outcome}, value)
    results: dict[tuple[str, str], dict[str, float]] = {}
    for (kind, model, version, result), value in series.items():
        if kind == "labelled":
            results.setdefault((model, version), {})[result] = value
    _head(lines, "mlops_labelled_predictions_total", "counter", "Predictions whose label came, right or wrong.")
    for (model, version), found in results.items():
        for result, value in found.items():
            labels = {"model": model, "version": version, "result": result}
            _line(lines, "mlops_labelled_predictions_total", labels, value)
    _head(lines, "mlops_accuracy", "gauge", "Share of right ones among all labelled predictions of a version.")
    for (model, version), found in results.items():
        accuracy = found.get("right", 0.0) / sum(found.values())
        _line(lines, "mlops_accuracy", {"model": model, "version": version}, accuracy)
    _head(lines, "mlops_alarms_total", "counter", "Alarms that monitors reported, by what they ask for.")
    for (kind, model, _, name), value in series.items():
        if kind == "alarms":
            _line(lines, "mlops_alarms_total", {"model": model, "action": name}, value)


def _groups(state: State) -> Iterable[str]:
    for entry in state.models.values():
        if entry.stable is not None:
            yield entry.stable.group


def _head(lines: list[str], name: str, kind: str, text: str) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _line(lines: list[str], name: str, labels: Mapping[str, str], value: float) -> None:
    shown = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    lines.append(f"{name}{{{shown}}} {value:g}" if value != int(value) else f"{name}{{{shown}}} {int(value)}")


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
