"""The review as JUnit XML: one suite a stack, one case a finding, for any server that shows test results."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree as ET

from policies.evaluation import Finding
from policies.plan import name_of
from policies.report.document import Review, StackReview

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, escaped or not."""


def render(review: Review) -> str:
    """Return the XML."""
    root = ET.Element("testsuites", name="mlops review")
    for stack in review.stacks:
        _suite(root, stack)
    gates = ET.SubElement(root, "testsuite", name="gates")
    if review.error or (not review.stacks and not review.untouched):
        _case(gates, "review", "review", "error", review.error or "no stack was found to review")
    for change in review.gate_changes:
        outcome = "failure" if change.stops else "skipped" if change.weakens else ""
        told = f"{change.text} ({change.before or 'nothing'} → {change.after or 'nothing'})"
        told += f"; answered for by {change.waiver}" if change.waiver else ""
        _case(gates, f"gate.{change.kind}", change.subject, outcome, told, change.place)
    if not len(gates):
        _case(gates, "review", "review", "", "")
    for suite in root:
        _count(suite)
    _count(root)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, stack: StackReview) -> None:
    suite = ET.SubElement(root, "testsuite", name=_clean(stack.stack))
    if stack.error or stack.evaluation is None or not stack.evaluation.asked:
        _case(suite, "review", stack.stack, "error", stack.error or "the rules did not run")
    silent = set(stack.evaluation.asked if stack.evaluation else ()) - {one.rule for one in stack.findings}
    for rule in sorted(silent):
        _case(suite, rule, stack.stack, "", "")
    for one in stack.findings:
        outcome = ("error" if one.status == "undetermined" else "failure") if one.stops else "skipped"
        _case(suite, one.rule, name_of(one.urn) or stack.stack, outcome, _told(one), one.place)


def _told(one: Finding) -> str:
    parts = [f"[{one.severity}, {one.status}, {one.level}] {one.text}"]
    parts += [f"input: {one.path}"] if one.path else []
    parts += [f"setting: {one.setting}"] if one.setting else []
    parts += [f"waiver: {one.waiver}"] if one.waiver else []
    parts += [f"to mend it: {one.fix}"] if one.fix else []
    return "\n".join(parts)


def _case(suite: ET.Element, rule: str, name: str, outcome: str, told: str, place: str = "") -> None:
    case = ET.SubElement(suite, "testcase", classname=_clean(rule), name=_clean(name), time="0")
    if place:
        file, _, line = place.rpartition(":")
        case.set("file", _clean(file or place))
        if line.isdigit():
            case.set("line", line)
    if outcome:
        found = ET.SubElement(case, outcome, message=_clean(told.split("\n")[0]))
        found.text = _clean(told)


def _count(element: ET.Element) -> None:
    counts = Counter(child.tag for case in element.iter("testcase") for child in case)
    element.set("tests", str(sum(1 for _ in element.iter("testcase"))))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(counts[tag]))


def _clean(value: str) -> str:
    return _NOT_XML.sub("�", value)
