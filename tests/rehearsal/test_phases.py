"""A whole rehearsal of a small program: crash half-way, recovery under throttling, update, drift, destroy."""

from pathlib import Path

import pytest

from infra.rehearsal.phases import Rehearsal
from tests.rehearsal.conftest import ACCOUNT, PROGRAMS

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_rehearsal_recovers_from_a_crash_finds_drift_and_leaves_nothing(tmp_path: Path) -> None:
    report = Rehearsal(
        project=PROGRAMS / "slice",
        stack="test",
        account=ACCOUNT,
        region="eu-central-1",
        folder=tmp_path / "rehearsal",
        update={"slice:purpose": "second"},
    ).run()

    assert report.ok, "\n".join(report.lines())
    assert [phase.name for phase in report.phases][1] == "up, and the plugin dies half-way"
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
