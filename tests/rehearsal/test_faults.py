"""Faults strike once, where they are meant to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.rehearsal import faults

DEPLOYMENT = "kubernetes:apps/v1:Deployment"


def test_fault_strikes_its_operation_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(faults.FAULTS, str(tmp_path))
    faults.inject(tmp_path, "create", DEPLOYMENT)
    faults.strike("update", DEPLOYMENT, "before")
    faults.strike("create", "kubernetes:core/v1:Secret", "before")
    faults.strike("create", DEPLOYMENT, "after")
    with pytest.raises(faults.RefusedError, match="create of kubernetes:apps/v1:Deployment was refused"):
        faults.strike("create", DEPLOYMENT, "before")
    faults.strike("create", DEPLOYMENT, "before")


def test_nothing_strikes_without_faults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(faults.FAULTS, raising=False)
    faults.strike("create", DEPLOYMENT, "before")
    monkeypatch.setenv(faults.FAULTS, str(tmp_path / "missing"))
    faults.strike("create", DEPLOYMENT, "before")


@pytest.mark.slow
def test_crash_ends_the_plugin_and_not_its_successor(tmp_path: Path) -> None:
    faults.inject(tmp_path, "create", DEPLOYMENT, moment="after", effect="crash")
    code = f"from infra.rehearsal import faults; faults.strike('create', {DEPLOYMENT!r}, 'after')"
    environ = os.environ | {faults.FAULTS: str(tmp_path)}
    codes = [subprocess.run([sys.executable, "-c", code], env=environ, check=False).returncode for _ in range(2)]
    assert codes == [faults.CRASH_CODE, 0]
