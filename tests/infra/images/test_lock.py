"""Images hold what the project's lock says, and all that their code imports."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from infra.images.lock import IMAGES, PYTHON, Image, image_lock, locked

pytestmark = pytest.mark.slow  # a file that takes seconds together

PROJECT = Path(__file__).resolve().parents[3]
OURS = {"training", "serving", "policies"}
NEVER = {"pulumi", "pulumi-aws", "pulumi-kubernetes", "moto", "sagemaker", "pytest", "torch", "typer", "supervisor"}


def names(text: str) -> set[str]:
    return {canonicalize_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_the_lock_of_an_image_is_that_of_the_project(image: Image) -> None:
    written = (PROJECT / "images" / image.name / "requirements.lock").read_text("utf-8")

    assert written == image_lock(PROJECT, image), "run: python -m infra.images --write"
    assert not NEVER & names(written)


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_an_image_holds_what_its_code_imports(image: Image) -> None:
    held = names((PROJECT / "images" / image.name / "requirements.lock").read_text("utf-8"))
    of_module = importlib.metadata.packages_distributions()
    missing = {
        f"{file.relative_to(PROJECT)}: {module}"
        for folder in image.code
        for file in (PROJECT / folder).rglob("*.py")
        for module in imported(file)
        if not {canonicalize_name(name) for name in of_module.get(module, [])} & held
    }

    assert not missing


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_an_image_holds_our_modules_that_its_code_imports(image: Image) -> None:
    held = tuple(f"{folder}/" for folder in image.code)
    missing = {
        f"{file.relative_to(PROJECT)}: {name}"
        for folder in image.code
        for file in (PROJECT / folder).rglob("*.py")
        for name in ours_imported(file)
        if not f"{name.replace('.', '/')}/".startswith(held)
    }

    assert not missing


def ours_imported(file: Path) -> set[str]:
    """Our modules that a file imports by name."""
    nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    found = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name for name in found if name.split(".")[0] in OURS}


def imported(file: Path) -> set[str]:
    """Third parties' modules that a file imports when it is loaded or called."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found - OURS - set(sys.stdlib_module_names)


def test_images_have_the_python_that_everything_is_checked_with() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))

    assert project["tool"]["mypy"]["python_version"] == PYTHON
    for image in IMAGES:
        assert f"ARG PYTHON={PYTHON}\n" in (PROJECT / "images" / image.name / "Dockerfile").read_text("utf-8")


def test_of_two_versions_the_one_for_the_images_python_is_taken() -> None:
    text = (
        "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:a\n    # via x\n"
        "numpy==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:b\n"
        "pywin32==312 ; sys_platform == 'win32' \\\n    --hash=sha256:c\n"
    )

    assert locked(text) == {"numpy": ["numpy==2.4.6 \\", "    --hash=sha256:a"]}
