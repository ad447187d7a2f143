"""JUnit: what stops is a failure, what is not known an error, what does not stop is skipped with its reason."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as ET

from policies.report import junit
from policies.report.document import Review
from tests.policies.report.conftest import evaluation, finding, stack

Make = Callable[..., Review]


def _cases(review: Review) -> dict[str, list[str]]:
    root = ET.fromstring(junit.render(review))
    return {str(case.get("classname")): [child.tag for child in case] for case in root.iter("testcase")}


def test_each_finding_is_a_case_by_what_it_does_to_the_gate(full: Review) -> None:
    cases = _cases(full)
    assert cases["security.bucket-not-public"] == ["failure"]
    assert cases["cost.budget"] == ["error"]
    assert cases["rollback.no-replacement"] == ["skipped"]
    assert cases["reliability.quota"] == ["skipped"]
    assert cases["gate.level"] == ["failure"]
    assert cases["gate.waiver"] == ["skipped"]
    assert cases["gate.rule"] == []


def test_the_counts_are_those_of_the_cases(full: Review) -> None:
    root = ET.fromstring(junit.render(full))
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "8", "failures": "2", "errors": "1", "skipped": "4",
    }  # fmt: skip


def test_a_rule_without_findings_is_a_case_that_passed(review: Make) -> None:
    assert _cases(review())["security.bucket-not-public"] == []


def test_a_stack_without_a_review_is_an_error_not_an_empty_suite(review: Make) -> None:
    root = ET.fromstring(junit.render(review(stacks=[stack(evaluation=None, error="no engine")])))
    found = root.find("testsuite/testcase/error")
    assert found is not None
    assert found.get("message") == "no engine"


def test_a_case_names_file_and_line(full: Review) -> None:
    case = ET.fromstring(junit.render(full)).find("testsuite/testcase[@classname='security.bucket-not-public']")
    assert case is not None
    assert (case.get("file"), case.get("line")) == ("components/registry/aws.py", "88")


def test_what_xml_cannot_hold_is_replaced_and_what_it_can_is_escaped(review: Make) -> None:
    bad = finding(text='a\x00b\x1b[31m\ud800 <failure> & "quotes" ]]>')
    rendered = junit.render(review(stacks=[stack(evaluation=evaluation(bad))]))
    rendered.encode("utf-8")
    found = ET.fromstring(rendered).find("testsuite/testcase/failure")
    assert found is not None
    assert 'a�b�[31m� <failure> & "quotes" ]]>' in str(found.text)
