"""The scheduler's process: submits retraining to Ray when a model's cron says so.

    python -m training.pipelines.schedule --config FILE

The file (JSON) has `ray` (`url` of the dashboard, `token`) and `entries`, each with `model`, `cron` (five fields, UTC),
`command`, `environment` and `envFile` (secrets, see `secret_environment`; may be null). A slot that was missed while
this process was down is not made up for; one that Ray was not there for is tried again until the next slot. A model
whose last retraining still runs is left alone. The submission's id is made of model and slot, so that a restarted
scheduler cannot start a slot twice.

A retraining registers a candidate and releases nothing. Its result is kept under `data/jobs/scheduled`.
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from croniter import croniter

from training.errors import TrainingError
from training.workspace import run, say

_TICK_SECONDS = 15.0
_RUNNING = frozenset({"PENDING", "RUNNING"})


@dataclass(frozen=True, slots=True)
class Entry:
    """When a model is retrained, and how."""

    model: str
    cron: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    env_file: str | None


@dataclass(frozen=True, slots=True)
class Config:
    """The scheduler's configuration."""

    url: str
    token: str | None
    entries: tuple[Entry, ...]


def parse(data: Any) -> Config:
    """Check the configuration.

    Raises:
        TrainingError: naming the key and what is expected.
    """
    ray = _object(_object(data, "file").get("ray"), "ray")
    url = ray.get("url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise TrainingError(f"ray.url: expected the address of Ray's dashboard, got {url!r}")
    entries = data.get("entries")
    if not isinstance(entries, list):
        raise TrainingError("entries: expected a list")
    return Config(
        url=url.rstrip("/"),
        token=ray.get("token"),
        entries=tuple(_entry(entry, f"entries[{i}]") for i, entry in enumerate(entries)),
    )


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TrainingError(f"{where}: expected an object")
    return value


def _entry(value: Any, where: str) -> Entry:
    entry = _object(value, where)
    model, cron, command = entry.get("model"), entry.get("cron"), entry.get("command")
    if not isinstance(model, str) or not model:
        raise TrainingError(f"{where}.model: expected the name of a model, got {model!r}")
    if not isinstance(cron, str) or len(cron.split()) != 5 or not croniter.is_valid(cron):
        raise TrainingError(f"{where}.cron: {cron!r} is not five cron fields, for example '0 3 * * 1' (UTC)")
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise TrainingError(f"{where}.command: expected a list of texts")
    environment = _object(entry.get("environment") or {}, f"{where}.environment")
    return Entry(model, cron, tuple(command), dict(environment), entry.get("envFile"))


def due(cron: str, after: datetime, now: datetime) -> datetime | None:
    """Return the latest slot of a cron later than `after` and not later than `now`, or None."""
    # croniter looks strictly back from where it stands: a slot of this very moment counts.
    iterator = croniter(cron, now)
    slot = now if croniter.match(cron, now) and not (now.second or now.microsecond) else iterator.get_prev(datetime)
    return slot if after < slot <= now else None


def submission(entry: Entry, slot: datetime) -> str:
    """Return the id under which Ray knows the retraining of a slot."""
    return f"scheduled-{entry.model}-{slot:%Y%m%dT%H%MZ}"


def request(entry: Entry, slot: datetime, directory: str) -> dict[str, Any]:
    """Return the body that submits a retraining to Ray. It holds no secret."""
    command: Sequence[str] = entry.command
    if entry.env_file:
        command = [command[0], "-m", "training.pipelines.secret_environment", entry.env_file, "--", *command]
    environment = dict(entry.environment)
    data = environment.get("MLOPS_DATA_DIR")
    if data:
        result = Path(data) / "jobs" / "scheduled" / entry.model / f"{slot:%Y%m%dT%H%MZ}" / "result.json"
        environment.setdefault("MLOPS_JOB_RESULT", str(result))
    return {
        "entrypoint": f"cd {shlex.quote(directory)} && exec {shlex.join(command)}",
        "submission_id": submission(entry, slot),
        "runtime_env": {"env_vars": environment},
        "metadata": {"model": entry.model, "slot": slot.isoformat()},
    }


class Scheduler:
    """Keeps, for each model, up to when its slots were dealt with and what was submitted last."""

    def __init__(self, config: Config, client: httpx.Client, start: datetime, directory: str) -> None:
        self._config = config
        self._client = client
        self._directory = directory
        self._done = {entry.model: start for entry in config.entries}
        self._last: dict[str, str] = {}

    def tick(self, now: datetime) -> list[str]:
        """Submit what is due.

        Returns:
            What was done or could not be done, a line each.
        """
        lines = []
        for entry in self._config.entries:
            slot = due(entry.cron, self._done[entry.model], now)
            if slot is None:
                continue
            try:
                lines.append(self._submit(entry, slot))
            except httpx.HTTPError as error:
                # The slot stays due: the next tick tries again.
                lines.append(f"{entry.model}: Ray did not take the retraining of {slot:%Y-%m-%d %H:%M}: {error!r}")
            else:
                self._done[entry.model] = slot
        return lines

    def _submit(self, entry: Entry, slot: datetime) -> str:
        before = croniter(entry.cron, slot).get_prev(datetime)
        last = self._last.get(entry.model, submission(entry, before))
        if self._status(last) in _RUNNING:
            return f"{entry.model}: {last} still runs, the slot {slot:%Y-%m-%d %H:%M} is left out"
        name = submission(entry, slot)
        if self._status(name) is None:
            response = self._client.post("/api/jobs/", json=request(entry, slot, self._directory))
            response.raise_for_status()
        self._last[entry.model] = name
        return f"{entry.model}: submitted {name}"

    def _status(self, name: str) -> str | None:
        response = self._client.get(f"/api/jobs/{name}")
        if response.status_code == 404:
            return None
        response.raise_for_status()
        return str(response.json().get("status"))


def loop(scheduler: Scheduler, clock: Callable[[], datetime], sleep: Callable[[float], None]) -> None:
    """Run for ever."""
    while True:
        for line in scheduler.tick(clock()):
            say(line)
        sleep(_TICK_SECONDS)


def main() -> None:
    """Run until stopped."""
    parser = argparse.ArgumentParser(prog="python -m training.pipelines.schedule", description="Start retraining.")
    parser.add_argument("--config", required=True, help="JSON file")
    options = parser.parse_args()
    try:
        config = parse(json.loads(Path(options.config).read_bytes()))
    except (OSError, ValueError, TrainingError) as error:
        raise TrainingError(f"{options.config}: {error}") from error
    headers = {"authorization": f"Bearer {config.token}"} if config.token else {}
    now = datetime.now(UTC)
    with httpx.Client(base_url=config.url, headers=headers, timeout=30) as client:
        for entry in config.entries:
            upcoming = croniter(entry.cron, now).get_next(datetime)
            say(f"{entry.model}: next retraining at {upcoming:%Y-%m-%d %H:%M} UTC")
        try:
            loop(Scheduler(config, client, now, os.getcwd()), lambda: datetime.now(UTC), time.sleep)  # noqa: PTH109
        except KeyboardInterrupt:
            sys.exit(0)


if __name__ == "__main__":
    run(main)
