"""The review as SARIF 2.1.0 (OASIS standard), so that findings stand on lines of the change.

A result lands on the setting where it is to be mended, else on the line that registers the resource, else on the file
of the stack. Waived findings and changes of gates that somebody answers for are results with an accepted suppression.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from policies.evaluation import Finding
from policies.plan import name_of
from policies.report.document import GateChange, Review, Source, StackReview
from policies.rule import Rule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LEVELS: Mapping[str, str] = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
_SCORES: Mapping[str, str] = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0"}
"""`security-severity`, by which GitHub sorts: the middle of each band of CVSS 3.1."""

Places = Mapping[tuple[str, str], Source]
"""Places of settings by stack and key."""


def render(review: Review, rules: Sequence[Rule] = (), places: Places | None = None) -> str:
    """Return the JSON.

    Args:
        review: the review.
        rules: all rules, for what is said of them; a rule that is not among them is named by its id alone.
        places: where settings are stated, by stack and key; see `policies.report.places`.
    """
    places = places or {}
    results = [_finding(stack, one, places) for stack in review.stacks for one in stack.findings]
    results += [_gate(one) for one in review.gate_changes if one.weakens]
    named = sorted({one["ruleId"] for one in results} | {rule.id for rule in rules})
    known = {rule.id: rule for rule in rules}
    index = {name: number for number, name in enumerate(named)}
    for one in results:
        one["ruleIndex"] = index[one["ruleId"]]
    results.sort(key=lambda one: (one["ruleIndex"], json.dumps(one, sort_keys=True)))
    _tell_apart(results)
    problems = [*([review.error] if review.error else [])]
    problems += [f"{one.stack}: {one.error}" for one in review.stacks if one.error]
    problems += [f"{one.stack}: the rules did not run" for one in review.stacks if not one.error and not one.evaluation]
    run = {
        "tool": {
            "driver": {
                "name": "mlops", "semanticVersion": "1.0.0",
                "rules": [_rule(name, known.get(name)) for name in named],
            }
        },
        "automationDetails": {"id": "mlops-review/"},
        "originalUriBaseIds": {"PROJECT": {"description": {"text": "folder of the project"}}},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not problems,
                "toolExecutionNotifications": [{"level": "error", "message": {"text": one}} for one in problems],
            }
        ],
        "results": results,
    }  # fmt: skip
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _rule(name: str, rule: Rule | None) -> dict[str, Any]:
    if rule is None:
        return _of_the_gates(name)
    help_text = f"{rule.why}\n\nTo mend it: {rule.fix}"
    level = _LEVELS[rule.severity]
    properties: dict[str, Any] = {
        "tags": [rule.family, *rule.references],
        "problem.severity": "recommendation" if level == "note" else level,
    }
    if rule.family == "security":
        properties["security-severity"] = _SCORES[rule.severity]
    return {
        "id": name, "name": name.partition(".")[2], "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why}, "help": {"text": help_text, "markdown": help_text},
        "defaultConfiguration": {"level": level}, "properties": properties,
    }  # fmt: skip


def _of_the_gates(name: str) -> dict[str, Any]:
    """Return what is said of what is no rule: a change of the gates, or that they could not be asked."""
    text = (
        "The change lets something through which the base would have stopped, or nobody can tell. Take it back, or have"
        " a named person answer for it by a waiver in the same change (docs/policies.md)."
    )
    return {"id": name, "shortDescription": {"text": "The gates are whole, and not weakened"}, "help": {"text": text}}


def _tell_apart(results: Sequence[dict[str, Any]]) -> None:
    """Number the fingerprints of findings that differ in nothing but their text, so that none hides another."""
    seen: Counter[str] = Counter()
    for one in results:
        mark = one["partialFingerprints"]["mlops/v1"]
        seen[mark] += 1
        if seen[mark] > 1:
            one["partialFingerprints"]["mlops/v1"] = f"{mark}:{seen[mark]}"


def _finding(stack: StackReview, one: Finding, places: Places) -> dict[str, Any]:
    stated = places.get((stack.stack, one.setting)) if one.setting else None
    file = Source(f"stacks/Pulumi.{stack.stack}.yaml")
    source = stated or Source.parse(one.place) or places.get((stack.stack, "")) or file
    told = f"{stack.stack}: {one.text}" + (f" ({one.path})" if one.path else "")
    # The standard gives a level other than `none` to failures alone; what stops the gate is one.
    kind = "fail" if one.stops else {"undetermined": "open", "deferred": "review"}.get(one.status, "fail")
    level = _LEVELS.get(one.severity, "error") if one.stops else "note"
    result: dict[str, Any] = {
        "ruleId": one.rule, "kind": kind, "level": level if kind == "fail" else "none", "message": {"text": told},
        "locations": [_location(source, one.urn)],
        "partialFingerprints": {"mlops/v1": _fingerprint(stack.stack, one.rule, one.urn, one.path, one.setting)},
        "properties": {"stack": stack.stack, "status": one.status, "enforcement": one.level, "urn": one.urn},
    }  # fmt: skip
    if one.status == "waived":
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": one.waiver}]
    return result


def _gate(one: GateChange) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": f"gate.{one.kind}", "level": "error" if one.stops else "note", "kind": "fail",
        "message": {"text": f"{one.subject}: {one.text} ({one.before or 'nothing'} → {one.after or 'nothing'})"},
        "locations": [_location(Source.parse(one.place) or Source("policies/__main__.py"), "")],
        "partialFingerprints": {"mlops/v1": _fingerprint("gates", one.kind, one.subject, one.before, one.after)},
    }  # fmt: skip
    if one.waiver:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": one.waiver}]
    return result


def _location(source: Source, urn: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": source.file, "uriBaseId": "PROJECT"}, "region": {"startLine": source.line},
        }
    }  # fmt: skip
    if urn:
        found["logicalLocations"] = [{"name": name_of(urn), "fullyQualifiedName": urn, "kind": "resource"}]
    return found


def _fingerprint(*parts: str) -> str:
    """Return what names a finding from one review to the next, wherever its line moves."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
