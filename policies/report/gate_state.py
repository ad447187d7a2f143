"""What the gates of a checkout are: its rules, waivers, the settings of its stacks, and the files of the gate itself.

The rules are described by the checkout's own code in a process of its own. What cannot be had is told as a problem,
never taken for "none".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from policies.code_digest import source_digest
from policies.waivers import FILE as WAIVERS
from policies.waivers import Waiver, WaiverError, read_waivers

GATE_FILES: Sequence[str] = (
    "PulumiPolicy.yaml", "policies/PulumiPolicy.yaml", "policies/__main__.py", "policies/describe.py",
    "policies/code_digest.py", "policies/plan.py", "policies/rule.py", "policies/facts.py", "policies/evaluation.py",
    "policies/judge.py", "policies/waivers.py", "policies/preview.py", "policies/review.py",
    "policies/rules/__init__.py", "policies/pack/*.py", "policies/gates/*.py", "policies/report/document.py",
    "policies/report/gate_*.py", "policies/**/*.csv", "policies/costs/**/*.json", "policies/costs/**/*.yaml",
    "components/gate.py", "components/keeping.py", "infra/facts.py", "infra/git.py", "infra/provider/gate*.py",
    "infra/review/*.py", "infra/gating/*.py", "infra/planning/*.py", "infra/cli/review.py", "infra/cli/gate.py",
    "infra/settings/gates.py", "infra/ci/*.py",
)  # fmt: skip
"""The gate's own code and the data that rules read, such as prices; a `*` stands for anything."""
WORKFLOWS: Sequence[str] = (
    ".github/workflows/*.yml", ".github/workflows/*.yaml", ".github/scripts/*", ".github/CODEOWNERS", ".gitlab-ci.yml",
)  # fmt: skip
"""What makes reviews and deployments happen."""

_SECONDS = 60.0
"""Time that the description of the rules may take; it takes less than one."""


@dataclass(frozen=True, kw_only=True)
class GateState:
    """What the gates of a checkout are.

    Attributes:
        rules: what `policies.describe` says of each rule, by id; None where it could not be had.
        waivers: its waivers; None where the file cannot be read.
        settings: settings of each stack, baselines merged, by keys such as `aws.governance.budgetUsd`.
        texts: texts of the files of stacks, baselines and waivers, for places.
        files: digests of the gate's own files, of workflows and of the files of allowed signers.
        problems: what could not be had, and why.
        gateless: whether there are no gates at all yet: a checkout of before they were introduced.
    """

    rules: Mapping[str, Mapping[str, Any]] | None = field(default_factory=dict)
    waivers: Sequence[Waiver] | None = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()
    gateless: bool = False


def read_gate_state(checkout: Path, python: Path | None = None) -> GateState:
    """Return the gates of a checkout; one without any rules has none.

    Args:
        checkout: folder with the files of one commit.
        python: the interpreter that describes the rules; by default this one.
    """
    problems: list[str] = []
    rules: Mapping[str, Mapping[str, Any]] | None = {}
    if gates := (checkout / "policies" / "rules").is_dir():
        rules, problem = _described(checkout, python or Path(sys.executable))
        problems += [problem] if problem else []
    waivers: Sequence[Waiver] | None = None
    try:
        waivers = read_waivers(checkout / WAIVERS)
    except WaiverError as error:
        problems.append(str(error))
    texts, unread = _stack_files(checkout)
    settings = {}
    for stack in sorted(one.stem.removeprefix("Pulumi.") for one in checkout.glob("stacks/Pulumi.*.yaml")):
        try:
            settings[stack] = flat(merged_settings(stack, texts))
        except ValueError as error:
            unread.append(str(error))
    signers = {
        value
        for stated in settings.values()
        for key, value in stated.items()
        if key.endswith("llowedSigners") and value
    }
    return GateState(
        rules=rules, waivers=waivers, settings=settings, texts=texts, problems=[*problems, *unread],
        files=dict(_digests(checkout, {str(one) for one in signers})), gateless=not gates,
    )  # fmt: skip


def merged_settings(stack: str, files: Mapping[str, str]) -> dict[str, Any]:
    """Return what a stack and its baselines state, merged as settings are: mappings by key, null takes a key away.

    Args:
        stack: name of the stack.
        files: texts by path from the project's folder.

    Raises:
        ValueError: a file is missing or is no mapping; the text names it.
    """
    stated = _mapping(f"stacks/Pulumi.{stack}.yaml", files).get("config")
    if not isinstance(stated, Mapping):
        raise ValueError(f"stacks/Pulumi.{stack}.yaml: `config` must be a mapping of keys to values")  # noqa: TRY004
    own = {str(key)[6:]: value for key, value in stated.items() if str(key).startswith("mlops:")}
    layers, name, seen = [own], own.get("baseline"), set[str]()
    while name is not None:
        if str(name) in seen:
            raise ValueError(f"stacks/baselines/{name}.yaml: baselines extend each other in a circle")
        seen.add(str(name))
        content = dict(_mapping(f"stacks/baselines/{name}.yaml", files))
        name = content.pop("extends", None)
        layers.insert(0, content)
    found: dict[str, Any] = {}
    for layer in layers:
        found = _merge(found, layer)
    return found


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted keys; lists are values. Secrets are left out."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            if set(value) != {"secure"}:
                found |= flat(value, key + ".")
        else:
            found[key] = value
    return found


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = _merge(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def _mapping(path: str, files: Mapping[str, str]) -> Mapping[str, Any]:
    if path not in files:
        raise ValueError(f"{path}: there is no such file")
    try:
        found = yaml.safe_load(files[path])
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(found, Mapping):
        raise ValueError(f"{path}: must be a mapping of keys to values")  # noqa: TRY004
    return found


def _described(checkout: Path, python: Path) -> tuple[Mapping[str, Mapping[str, Any]] | None, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [str(python), "-B", "-m", "policies.describe"],
            cwd=checkout, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            return None, f"the rules cannot be described: {said}"
        stated = json.loads(done.stdout)
        if stated["format"] != "mlops-rules/1":
            return None, f"the rules are described as {stated['format']!r}, which is not understood"
        if Path(stated["project"]) != checkout.resolve():
            return (
                None,
                f"the rules cannot be described: those of {stated['project']} answered, not those of the checkout",
            )
        return {one["id"]: one for one in stated["rules"]}, ""
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        return None, f"the rules cannot be described: {type(error).__name__}: {error}"


def _stack_files(checkout: Path) -> tuple[dict[str, str], list[str]]:
    texts, unread = {}, []
    patterns = ("stacks/Pulumi.*.yaml", "stacks/baselines/*.yaml", WAIVERS)
    for file in sorted(one for pattern in patterns for one in checkout.glob(pattern)):
        path = file.relative_to(checkout).as_posix()
        try:
            texts[path] = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            unread.append(f"{path}: cannot be read: {error}")
    return texts, unread


def _digests(checkout: Path, signers: set[str]) -> Iterator[tuple[str, str]]:
    patterns = [*GATE_FILES, *WORKFLOWS]
    found = {one for pattern in patterns for one in checkout.glob(pattern)}
    found |= {checkout / one for one in signers if not Path(one).is_absolute() and ".." not in Path(one).parts}
    for file in sorted(found):
        if file.is_file():
            path = file.relative_to(checkout).as_posix()
            yield path, source_digest(path, file.read_bytes())


def is_workflow(path: str) -> bool:
    """Return whether a path is one of `WORKFLOWS`."""
    return any(fnmatchcase(path, pattern) for pattern in WORKFLOWS)


def is_gate_file(path: str) -> bool:
    """Return whether a path is one of `GATE_FILES`."""
    return any(fnmatchcase(path, pattern.replace("**/", "*")) for pattern in GATE_FILES)
