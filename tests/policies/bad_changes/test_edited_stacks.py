"""Some bad changes as a person makes them: keys of the stack's file, planned by the real engine.

Against nothing, so that they cost one preview; what a plan from nothing leaves open is left open without it, too.
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.planning.plans import planned
from policies.judge import judge
from policies.rules import all_rules

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
EDITS: list[tuple[str, Any, str]] = [
    ("aws.registry.database.multiZone", False, "reliability.database-multi-zone"),
    ("aws.registry.database.backupDays", 1, "rollback.database-backed-up"),
    ("aws.governance.auditMode", "governance", "governance.audit-immutable"),
    ("aws.featureStore.replicas", 1, "reliability.replicas"),
    ("aws.network.nat", "one", "reliability.way-out-per-zone"),
]

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with stack files of its own; everything else is this checkout's."""
    folder = tmp_path_factory.mktemp("edited") / "project"
    folder.mkdir()
    for one in ROOT.iterdir():
        if one.name == "stacks":
            shutil.copytree(one, folder / "stacks")
        elif one.name != ".git":
            (folder / one.name).symlink_to(one)
    return folder


def test_edits_of_the_stack_file_are_stopped_by_the_rules_meant_for_them_alone(checkout: Path) -> None:
    # All in one plan: which edit is for which rule, and that it fails no other, test_bad_changes.py says of each.
    file = checkout / "stacks" / "Pulumi.prod.yaml"
    stated = yaml.safe_load(file.read_text())
    for key, value, _ in EDITS:
        name, *way = key.split(".")
        inner = stated["config"]
        for one in (f"mlops:{name}", *way[:-1]):
            inner = inner.setdefault(one, {})
        inner[way[-1]] = value
    file.write_text(yaml.safe_dump(stated))

    findings = judge(planned(checkout, "prod"), all_rules(), checkout, NOW).findings

    assert {one.rule for one in findings if one.status == "failed"} == {rule for _, _, rule in EDITS}
