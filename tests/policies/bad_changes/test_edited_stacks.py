"""Some bad changes as a person makes them: one key of the stack's file, planned by the real engine.

Against nothing, so that each costs one preview; what a plan from nothing leaves open is left open without it, too.
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


def failed(project: Path) -> set[str]:
    found = judge(planned(project, "prod"), all_rules(), project, NOW).findings
    return {one.rule for one in found if one.status == "failed"}


@pytest.mark.parametrize(("key", "value", "rule"), EDITS, ids=[key for key, _, _ in EDITS])
def test_edit_of_the_stack_file_is_stopped_by_the_rule_meant_for_it_alone(
    key: str, value: Any, rule: str, checkout: Path
) -> None:
    file = checkout / "stacks" / "Pulumi.prod.yaml"
    before = file.read_text()
    stated = yaml.safe_load(before)
    inner = stated["config"]
    name, *way = key.split(".")
    way = [f"mlops:{name}", *way]
    for one in way[:-1]:
        inner = inner.setdefault(one, {})
    inner[way[-1]] = value
    file.write_text(yaml.safe_dump(stated))
    try:
        assert failed(checkout) == {rule}
    finally:
        file.write_text(before)
