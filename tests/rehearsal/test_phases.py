"""A whole rehearsal of a small program: crash half-way, recovery under throttling, update, drift, destroy."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from infra.rehearsal.phases import Rehearsal
from infra.rehearsal.report import Phase
from tests.rehearsal.conftest import ACCOUNT, PROGRAMS

pytestmark = [pytest.mark.engine, pytest.mark.slow]


class Controllers:
    """Controllers that find everything well, and change the program's only setting where they say what changes."""

    quick: Mapping[str, str] = {}
    upgrade: Mapping[str, str] = {"slice:purpose": "third"}

    def running(self) -> Phase:
        return Phase("all runs", True, 0.0)

    def upgraded(self) -> Phase:
        return Phase("serving moved", True, 0.0)

    def ended(self) -> Phase:
        return Phase("all is gone", True, 0.0)

    def notes(self) -> Sequence[str]:
        return ("played: kubelets",)


def test_rehearsal_recovers_from_a_crash_finds_drift_and_leaves_nothing(tmp_path: Path) -> None:
    report = Rehearsal(
        project=PROGRAMS / "slice",
        stack="test",
        account=ACCOUNT,
        region="eu-central-1",
        folder=tmp_path / "rehearsal",
        update={"slice:purpose": "second"},
        deep=lambda _aws: nullcontext(Controllers()),
    ).run()

    assert report.ok, "\n".join(report.lines())
    names = [phase.name for phase in report.phases]
    assert names[1] == "up, and the plugin dies half-way"
    assert names.index("all runs") < names.index("update") == names.index("serving moved") - 1
    assert names[-1] == "all is gone"
    assert "played: kubelets" in report.notes
    assert report.injected
    assert report.left == {}
    assert not (tmp_path / "rehearsal").exists()


def test_rehearsal_says_what_failed_when_the_account_is_another(tmp_path: Path) -> None:
    report = Rehearsal(
        project=PROGRAMS / "slice",
        stack="test",
        account="999999999999",
        region="eu-central-1",
        folder=tmp_path / "rehearsal",
    ).run()

    assert not report.ok
    [preview] = report.phases
    assert "the credentials are those of account 999999999999" in preview.detail
