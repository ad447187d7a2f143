"""Which stacks a change touches, by the files that differ. Pure; what is not known to be harmless touches all."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from policies.report.gate_state import is_workflow

_HARMLESS: Final = ("docs/", "tests/", "benchmarks/", ".github/")
_HARMLESS_FILES: Final = re.compile(r"[^/]+\.md|LICENSE|\.git\w+|\.editorconfig")
_STACK: Final = re.compile(r"stacks/Pulumi\.([^/]+)\.yaml")
_BASELINE: Final = re.compile(r"stacks/baselines/([^/]+)\.ya?ml")
_RELEASE: Final = re.compile(r"stacks/releases/([^/]+)/")
_NAMES_BASELINE: Final = re.compile(r"^\s*(?:mlops:)?(?:baseline|extends):\s*[\"']?([\w.-]+)", re.MULTILINE)


def touched(files: Iterable[str], texts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the stacks that a change touches, sorted.

    Args:
        files: paths that differ.
        texts: texts of `stacks/Pulumi.*.yaml` and `stacks/baselines/*.yaml` by path, as they are after the change.
    """
    every = {found[1] for path in texts if (found := _STACK.fullmatch(path))}
    chosen: set[str] = set()
    for path in files:
        if match := _STACK.fullmatch(path):
            chosen.add(match[1])
        elif match := _BASELINE.fullmatch(path):
            chosen |= {stack for stack in every if match[1] in _chain(stack, texts)}
        elif match := _RELEASE.match(path):
            chosen |= {stack for stack in every if _speaks_of(match[1], stack, texts)}
        elif not _harmless(path):
            chosen |= every
    return tuple(sorted(chosen))


def _harmless(path: str) -> bool:
    """Whether no program reads a file. What makes reviews happen is judged by the diff of the gates."""
    return path.startswith(_HARMLESS) or is_workflow(path) or bool(_HARMLESS_FILES.fullmatch(path))


def _chain(stack: str, texts: Mapping[str, str]) -> Collection[str]:
    """Return the baselines that a stack names, and those that they name."""
    found: set[str] = set()
    open_ = _NAMES_BASELINE.findall(texts.get(f"stacks/Pulumi.{stack}.yaml", ""))
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            open_ += _NAMES_BASELINE.findall(texts.get(f"stacks/baselines/{name}.yaml", ""))
    return found


def _speaks_of(model: str, stack: str, texts: Mapping[str, str]) -> bool:
    own = [f"stacks/Pulumi.{stack}.yaml", *(f"stacks/baselines/{name}.yaml" for name in _chain(stack, texts))]
    return any(model in texts.get(path, "") for path in own)
