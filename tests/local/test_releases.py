"""Releases under load: a healthy canary takes over, one that errs is rolled back, and no user notices either."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.local.checkout import Platform
from tests.local.test_platform import served, v2_request

pytestmark = pytest.mark.local

MODEL = "tumour-kind"
CANARY = {
    "kind": "canary",
    "steps": [{"weight": 20, "minutes": 0.1}, {"weight": 50, "minutes": 0.1}],
    "bakeMinutes": 0.1,
    # One row of the smoke set, so that a candidate that fails now and then gets as far as users.
    "evidence": {"requests": 50, "smoke": 1},
    # What is tried here is the release; the machine is shared, so that latency says little.
    "limits": {"latencyRatio": 20},
}

LENIENT = CANARY | {"limits": {"latencyRatio": 100, "toleratedRate": 0.9, "failureRate": 0.95}}
"""Ended by people only: on a busy machine a candidate is late now and then, which is not always what is tried."""


class Users:
    """Requests all the time, from a few connections; every answer is counted by its status."""

    def __init__(self, platform: Platform, model: str) -> None:
        self._platform, self._path = platform, f"/v2/models/{model}/infer"
        self._body = v2_request(platform, model)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]
        self.answers: Counter[str] = Counter()

    def _ask(self) -> None:
        with self._platform.http("inference") as http:
            while not self._stop.is_set():
                try:
                    self.answers[str(http.post(self._path, json=self._body).status_code)] += 1
                except httpx.HTTPError as error:
                    self.answers[type(error).__name__] += 1
                time.sleep(0.02)

    def __enter__(self) -> "Users":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def canary(platform: Platform) -> Iterator[Platform]:
    """The platform with a commit to train from, and a canary as the strategy of one model."""
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
    for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "as tested"]):
        subprocess.run(["git", *arguments], cwd=platform.checkout.root, check=True)
    before = platform.checkout.stack_file.read_text("utf-8")
    yield platform
    platform.checkout.stack_file.write_text(before, encoding="utf-8")


def state(platform: Platform, **model: Any) -> None:
    """Change what the stack states of the model."""
    file = platform.checkout.stack_file
    document = yaml.safe_load(file.read_text("utf-8"))
    document["config"]["mlops:models"][MODEL] |= model
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def waiting(platform: Platform, **settings: Any) -> None:
    """Change how releases are waited for."""
    file = platform.checkout.stack_file
    document = yaml.safe_load(file.read_text("utf-8"))
    document["config"].setdefault("mlops:inference", {})["rollout"] = settings
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def up(platform: Platform) -> subprocess.CompletedProcess[str]:
    return platform.checkout.run("up", platform.checkout.stack, check=False)


def rollout(platform: Platform) -> dict[str, Any]:
    """The controller's document of the model: what `release status --json` prints, without a start of Python."""
    with platform.http("control") as http:
        answer = http.get(f"/v1/models/{MODEL}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_healthy_canary_is_promoted_under_load(canary: Platform) -> None:
    before = served(canary)[MODEL]
    state(canary, strategy=CANARY, params={"c": 0.5})

    with Users(canary, MODEL) as users:
        done = up(canary)

    assert done.returncode == 0, done.stderr[-6000:]
    after = served(canary)[MODEL]
    assert int(after["version"]) > int(before["version"])
    assert set(users.answers) == {"200"}, users.answers
    assert users.answers["200"] > 500
    seen = rollout(canary)["rollout"]
    assert seen["state"] == "promoted"
    assert seen["counts"]["candidate"]["requests"] >= 100
    said = done.stdout + done.stderr
    assert seen["messages"][-1]["text"] in said


def begin(platform: Platform) -> subprocess.Popen[str]:
    """Start an `up` as a terminal does: with a process group of its own, which Ctrl-C goes to."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
    return subprocess.Popen(
        ["./mlops", "up", platform.checkout.stack],
        cwd=platform.checkout.root, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def reached(platform: Platform, met: Callable[[dict[str, Any]], bool], seconds: float = 300) -> dict[str, Any]:
    """Wait until the controller's view of the model is as wanted; returns it."""
    deadline = time.monotonic() + seconds
    while not met(seen := rollout(platform)):
        assert time.monotonic() < deadline, seen
        time.sleep(0.3)
    return seen


def under_way(seen: dict[str, Any]) -> bool:
    return bool(seen["rollout"]["state"] == "step")


def test_interrupted_up_leaves_the_rollout_the_next_one_follows_it_and_abort_ends_both(canary: Platform) -> None:
    before, banned = served(canary)[MODEL], rollout(canary)["quarantined"]
    endless = LENIENT | {"steps": [{"weight": 20, "minutes": 30}], "deadlines": {"unhealthy": 300}}
    state(canary, strategy=endless, params={"c": 0.45})

    with Users(canary, MODEL) as users:
        first = begin(canary)
        number = reached(canary, under_way)["rollout"]["id"]
        os.killpg(first.pid, signal.SIGINT)
        said, _ = first.communicate(timeout=300)
        left = rollout(canary)["rollout"]

        second = begin(canary)
        assert second.stdout is not None
        followed = next((line for line in second.stdout if "20 % of the traffic" in line), "")
        assert under_way(now := rollout(canary)), now
        canary.checkout.run("release", "abort", MODEL, "--stack", canary.checkout.stack, "-m", "not today")
        told, _ = second.communicate(timeout=300)

    assert first.returncode != 0, said[-3000:]
    assert "goes on: the next `up` follows it" in said
    assert (left["id"], left["state"]) == (number, "step")
    assert followed
    assert second.returncode != 0
    assert "was aborted" in told, told[-3000:]
    assert "not today" in told
    ended = rollout(canary)
    assert (ended["rollout"]["id"], ended["rollout"]["state"]) == (number, "aborted")
    assert ended["quarantined"] == banned
    assert served(canary)[MODEL] == before
    assert set(users.answers) == {"200"}, users.answers
    state(canary, strategy=CANARY)


def stated(platform: Platform, version: str) -> None:
    """Write the manifest of a version, which a stack can then pin, and approve it."""
    for what in ("propose", "approve"):
        platform.checkout.run("release", what, MODEL, "--version", version, "--stack", platform.checkout.stack)


def test_killed_engine_is_followed_by_the_next_up_and_what_was_before_can_come_back(canary: Platform) -> None:
    """A → B, with a `kill -9` of the engine and its plugins in the middle, and back to A."""
    before = served(canary)[MODEL]
    state(canary, strategy=LENIENT, params={"c": 0.45})

    with Users(canary, MODEL) as users:
        first = begin(canary)
        number = reached(canary, under_way)["rollout"]["id"]
        for process in [*psutil.Process(first.pid).children(recursive=True), psutil.Process(first.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        first.wait()
        followed = up(canary)
        assert followed.returncode == 0, followed.stderr[-6000:]
        assert rollout(canary)["rollout"]["id"] == number
        after = served(canary)[MODEL]

        stated(canary, before["version"])
        state(canary, version=before["version"])
        back = up(canary)

    assert "released the lock" in followed.stdout + followed.stderr
    assert int(after["version"]) > int(before["version"])
    assert back.returncode == 0, back.stderr[-6000:]
    assert served(canary)[MODEL] == before
    assert rollout(canary)["rollout"]["id"] != number
    assert set(users.answers) == {"200"}, users.answers


def test_ctrl_c_ends_the_rollout_where_the_stack_says_so(canary: Platform) -> None:
    before = served(canary)[MODEL]
    endless = LENIENT | {"steps": [{"weight": 20, "minutes": 30}], "deadlines": {"unhealthy": 300}}
    newest = before["version"]
    state(canary, strategy=endless, version="latest", params={"c": 0.4})
    waiting(canary, onInterrupt="abort")

    with Users(canary, MODEL) as users:
        interrupted = begin(canary)
        number = reached(canary, under_way)["rollout"]["id"]
        os.killpg(interrupted.pid, signal.SIGINT)
        said, _ = interrupted.communicate(timeout=300)
        ended = reached(canary, lambda seen: seen["rollout"]["state"] == "aborted")

    assert interrupted.returncode != 0, said[-3000:]
    assert ended["rollout"]["id"] == number
    assert served(canary)[MODEL] == before
    assert set(users.answers) == {"200"}, users.answers
    state(canary, strategy=CANARY, version=newest)
    waiting(canary)
    assert up(canary).returncode == 0
    assert served(canary)[MODEL] == before


def test_another_version_waits_for_its_turn_or_takes_over_while_an_up_holds_the_stack(canary: Platform) -> None:
    checkout, stack = canary.checkout, ("--stack", canary.checkout.stack)
    first, second, third = (trained(canary, c) for c in (0.45, 0.4, 0.35))
    for version in (first, second, third):
        stated(canary, version)
    endless = LENIENT | {"steps": [{"weight": 20, "minutes": 30}], "deadlines": {"unhealthy": 300}}

    with Users(canary, MODEL) as users:
        waiting(canary, wait=False)
        state(canary, strategy=endless | {"onConflict": "queue"}, version=first)
        assert up(canary).returncode == 0
        running = reached(canary, under_way)["rollout"]["id"]

        waiting(canary)
        state(canary, version=second)
        holding = begin(canary)
        queued = reached(canary, lambda seen: bool(seen["queued"]))["queued"]
        refused = up(canary)
        assert rollout(canary)["rollout"]["id"] == running
        checkout.run("release", "rollback", MODEL, *stack, "-m", "enough of it")
        reached(canary, lambda seen: seen["rollout"]["id"] == queued["id"] and under_way(seen))

        last = asked_for(canary, third, endless)
        said, _ = holding.communicate(timeout=300)
        reached(canary, lambda seen: seen["rollout"]["id"] == last and under_way(seen))
        checkout.run("release", "promote", MODEL, *stack)
        ended = reached(canary, lambda seen: seen["rollout"]["state"] == "promoted")

    assert queued["candidate"]["version"] == second
    assert refused.returncode != 0
    assert "locked" in refused.stdout + refused.stderr
    assert holding.returncode != 0
    assert "waiting for its turn" in said
    # Which of them it tells depends on whether it looked before the other rollout began.
    assert f"version {second} was superseded" in said or "another release took over" in said, said[-3000:]
    assert (ended["rollout"]["id"], served(canary)[MODEL]["version"]) == (last, third)
    steps = {(one["what"].get("rollout"), one["what"].get("step")) for one in history(canary)}
    assert {(running, "failed"), (queued["id"], "superseded"), (last, "baked")} <= steps
    assert set(users.answers) == {"200"}, users.answers
    state(canary, strategy=CANARY, version=third)


def trained(platform: Platform, c: float) -> str:
    """Train a version from the commit of these tests; the same parameters are the version that is there already."""
    command = ("train", MODEL, "--param", f"c={c}", "--stack", platform.checkout.stack, "--json")
    return str(platform.checkout.json(*command)["version"])


def manifest_of(platform: Platform, version: str) -> Path:
    return platform.checkout.root / "stacks" / "releases" / MODEL / f"{version}.yaml"


def asked_for(platform: Platform, version: str, strategy: dict[str, Any]) -> str:
    """Ask the controller for a version, as another stack of releases would; returns the rollout."""
    manifest = yaml.safe_load(manifest_of(platform, version).read_text("utf-8"))
    body = {part: manifest[part] for part in ("version", "digest", "source", "files")}
    body |= {"group": "shared", "strategy": strategy, "manifest": manifest, "requestedBy": "tester"}
    with platform.http("control") as http:
        answer = http.put(f"/v1/models/{MODEL}/release", json=body).raise_for_status()
    return str(answer.json()["rollout"]["id"])


def history(platform: Platform) -> list[dict[str, Any]]:
    """Return what the ledger says of the model."""
    command = ("release", "history", MODEL, "-n", "1000", "--stack", platform.checkout.stack, "--json")
    entries: list[dict[str, Any]] = platform.checkout.json(*command)
    return entries


def sampled(seen: dict[str, Any]) -> bool:
    """Whether copies were sampled, and some of them compared; on a busy machine most are shed, as they should be."""
    (counts,) = [one["counts"] for one in seen["shadows"]]
    return bool(counts["compared"] >= 1 and counts["requests"] + counts["shed"] >= 50)


def copied(platform: Platform, kind: str) -> dict[str, Any]:
    """Register a copy of the trained model, broken as said, and have it approved."""
    checkout, stack = platform.checkout, ("--stack", platform.checkout.stack)
    python = checkout.root / ".mlops" / "venv" / "bin" / "python"
    made = subprocess.run(
        [str(python), "-m", "benchmarks.faults", *stack, "--model", MODEL, "--kind", kind],
        cwd=checkout.root, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    version: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    stated(platform, version["version"])
    return version


def test_shadow_sees_what_stable_answers_and_users_see_nothing_of_it(canary: Platform) -> None:
    checkout, stack = canary.checkout, ("--stack", canary.checkout.stack)
    version = copied(canary, "none")["version"]
    state(canary, shadows=[{"version": version, "sample": 50}])

    with Users(canary, MODEL) as users:
        done = up(canary)
        assert done.returncode == 0, done.stderr[-3000:]
        shown = reached(canary, sampled)

    (shadow,) = shown["shadows"]
    assert (shadow["version"], shadow["sample"], shadow["state"]) == (version, 50, "ready")
    assert shadow["counts"]["errors"] == shadow["counts"]["invalid"] == 0
    assert served(canary)[MODEL]["version"] != version
    assert set(users.answers) == {"200"}, users.answers
    told = checkout.run("release", "status", MODEL, *stack).stdout
    assert f"shadow {version}, 50 % of the requests: ready" in told

    state(canary, shadows=[])
    assert up(canary).returncode == 0
    assert rollout(canary)["shadows"] == []


def test_candidate_that_errs_is_rolled_back_and_quarantined(canary: Platform) -> None:
    checkout, stack = canary.checkout, ("--stack", canary.checkout.stack)
    before = served(canary)[MODEL]
    broken = copied(canary, "errors")
    state(canary, version=broken["version"])

    with Users(canary, MODEL) as users:
        failed = up(canary)

    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    # One time in five the smoke set finds it out.
    assert f"version {broken['version']} was rolled back" in said or "smoke set: candidate failed" in said
    assert "is quarantined" in said
    assert served(canary)[MODEL] == before
    assert set(users.answers) == {"200"}, users.answers
    document = rollout(canary)
    assert document["rollout"]["state"] in ("rolled-back", "failed")
    assert broken["digest"] in json.dumps(document["quarantined"])

    number = document["rollout"]["id"]
    again = up(canary)
    assert again.returncode != 0
    assert "quarantine" in again.stdout + again.stderr
    assert rollout(canary)["rollout"]["id"] == number

    checkout.run("release", "revert", MODEL, *stack)
    assert up(canary).returncode == 0
    assert served(canary)[MODEL] == before


def test_ledger_knows_what_happened(canary: Platform) -> None:
    checkout, stack = canary.checkout, ("--stack", canary.checkout.stack)

    report = checkout.json("audit", "verify", *stack, "--json")
    answer = checkout.json("audit", "serving", MODEL, *stack, "--json")
    exported = [json.loads(line) for line in checkout.run("audit", "export", *stack).stdout.splitlines()]

    assert report["ok"] is True
    assert answer["stable"]["digest"] == served(canary)[MODEL]["digest"]
    kinds = {line["kind"] for line in exported if line["type"] == "entry"}
    assert {"approval", "release-step", "quarantine"} <= kinds
