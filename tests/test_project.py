"""What holds for the project's files as a whole."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli.app import app

PROJECT = Path(__file__).resolve().parents[1]
LOCKS = sorted(path for path in PROJECT.rglob("*.lock") if ".mlops" not in path.parts and not path.name.startswith("."))


def test_there_are_locks_for_project_and_installer() -> None:
    names = {str(path.relative_to(PROJECT)) for path in LOCKS}
    assert {"requirements.lock", "infra/engine/bootstrap.lock"} <= names


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_a_lock_holds_names_versions_and_hashes_only(lock: Path) -> None:
    requirement = re.compile(r"[A-Za-z0-9._-]+(\[[a-z0-9,._-]+\])?==[A-Za-z0-9.!+_-]+( ; .+)? \\$")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?$")
    for number, line in enumerate(lock.read_text("utf-8").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            assert requirement.match(line) or digest.match(line), f"{lock.name}:{number}: {line}"
        assert "://" not in line, f"{lock.name}:{number} holds an address"


def test_the_lock_has_every_direct_dependency() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (PROJECT / "requirements.lock").read_text("utf-8"), re.MULTILINE))
    missing = {re.split(r"[\[><=~!; ]", entry)[0].lower() for entry in wanted} - locked
    assert not missing, f"run: uv pip compile (see docs/how-to/change-dependencies.md); missing: {sorted(missing)}"


def test_every_command_of_the_readme_exists() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    named = set(re.findall(r"\./mlops ([a-z]+)", (PROJECT / "README.md").read_text("utf-8")))
    assert named
    missing = {name for name in named if not re.search(rf"\b{name}\b", shown)}
    assert not missing


def test_the_documents_that_are_linked_exist() -> None:
    broken = []
    for page in [PROJECT / "README.md", *PROJECT.joinpath("docs").rglob("*.md")]:
        prose = re.sub(r"`[^`\n]*`", "", page.read_text("utf-8"))  # a pattern in code may look like a link
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose)
        broken += [f"{page.relative_to(PROJECT)} → {link}" for link in links if not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("mark", ["engine", "local"])
def test_folders_that_the_fast_run_leaves_out_hold_marked_tests_only(mark: str) -> None:
    files = sorted((PROJECT / "tests" / mark).glob("test_*.py"))
    assert files
    marked = re.compile(rf"^pytestmark = (\[\s*)?pytest\.mark\.{mark}\b", re.MULTILINE)
    assert [file.name for file in files if not marked.search(file.read_text("utf-8"))] == []
