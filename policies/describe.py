"""The rules as data: `python -m policies.describe`, run in the checkout whose rules are meant.

A review compares the rules of its base with those of its head. The base describes itself in a process of its own, so
that its code never meets that of the head.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from policies.code_digest import Code
from policies.facts import EnvironmentKind
from policies.rule import Rule
from policies.rules import all_rules

FORMAT = "mlops-rules/1"
"""Name and version of the description."""


def describe(rules: Sequence[Rule]) -> dict[str, Any]:
    """Return what is said of rules, how each counts in every kind of environment, and a digest of its code.

    It names the folder that the rules come from, so that whoever asked can tell that it is the one that was meant.
    """
    code = Code()
    project = str(Path(__file__).resolve().parents[1])
    return {
        "format": FORMAT,
        "project": project,
        "rules": [_rule(one, code) for one in sorted(rules, key=lambda one: one.id)],
    }


def _rule(rule: Rule, code: Code) -> Mapping[str, Any]:
    return {
        "id": rule.id, "title": rule.title, "family": rule.family, "severity": rule.severity, "why": rule.why,
        "fix": rule.fix, "references": list(rule.references), "scope": rule.scope, "types": sorted(rule.types),
        "levels": {kind: rule.level(kind) for kind in get_args(EnvironmentKind)}, "waivable": rule.waivable,
        "yieldsTo": sorted(rule.yields_to), "code": code.digest(rule.judge),
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe(all_rules())) + "\n")
