import pytest

from serving.control.rollout import LIVE_SECONDS, Decision, Phase, Seen, decide

NEW, OLD = ("2", "sha256:b"), ("1", "sha256:a")
NOW, DEADLINE = 1000.0, 1100.0


def seen(name: str = "a", *, age: float = 1, serving: tuple[str, str] | None = OLD, new: str | None = "absent") -> Seen:
    """A replica; `new` is the error of the candidate, None where it is loaded, "absent" where it is not yet."""
    loaded: dict[tuple[str, str], str | None] = {OLD: None}
    if new != "absent":
        loaded[NEW] = new
    return Seen(name, NOW - age, serving, loaded)


LOADED = seen(new=None)
SWITCHED = seen(new=None, serving=NEW)

CASES = [
    ("waits for the first replica", "loading", [], NOW, Decision("loading")),
    ("waits until it is loaded", "loading", [seen()], NOW, Decision("loading")),
    ("waits for every replica", "loading", [LOADED, seen("b")], NOW, Decision("loading")),
    ("goes on when all have it", "loading", [LOADED, seen("b", new=None)], NOW,
     Decision("switching", "loaded by 2 replicas")),
    ("does not wait for the dead", "loading", [LOADED, seen("b", age=LIVE_SECONDS + 1)], NOW,
     Decision("switching", "loaded by 1 replica")),
    ("fails on any error", "loading", [LOADED, seen("b", new="disk full")], NOW,
     Decision("failed", "a replica of group 'g' cannot load it: disk full")),
    ("ignores errors of the dead", "loading", [LOADED, seen("b", age=99, new="disk full")], NOW,
     Decision("switching", "loaded by 1 replica")),
    ("fails at the deadline without replicas", "loading", [], DEADLINE,
     Decision("failed", "no replica of group 'g' has reported in time; is the group running?")),
    ("fails at the deadline with one behind", "loading",
     [Seen("a", DEADLINE, OLD, {NEW: None}), Seen("b", DEADLINE, OLD)], DEADLINE,
     Decision("failed", "only 1 of 2 replicas of group 'g' had loaded it in time")),
    ("waits for the switch", "switching", [SWITCHED, LOADED], NOW, Decision("switching")),
    ("is promoted when all serve it", "switching", [SWITCHED], NOW, Decision("promoted", "served by 1 replica")),
    ("fails on an error while switching", "switching", [SWITCHED, seen("b", new="bad")], NOW,
     Decision("failed", "a replica of group 'g' cannot load it: bad")),
    ("stays promoted", "promoted", [seen(new="bad")], NOW, Decision("promoted")),
    ("stays failed", "failed", [SWITCHED], NOW, Decision("failed")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("phase", "replicas", "now", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_rollout(phase: Phase, replicas: list[Seen], now: float, expected: Decision) -> None:
    assert decide(phase, NEW, replicas, now=now, deadline=DEADLINE, group="g") == expected
