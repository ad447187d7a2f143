"""What the engine prints of a preview becomes a plan with its steps."""

from __future__ import annotations

from typing import Any

import pytest

from policies.plan import Unknown
from policies.preview import PreviewError, place_of, plan_from_preview

URN = "urn:pulumi:prod::mlops::aws:rds/instance:Instance::main"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def _state(**inputs: Any) -> dict[str, Any]:
    return {"urn": URN, "type": "aws:rds/instance:Instance", "inputs": inputs}


def _step(op: str, old: Any = None, new: Any = None, **more: Any) -> dict[str, Any]:
    return {"op": op, "urn": URN, "oldState": old, "newState": new, **more}


def test_an_update_says_which_inputs_differ() -> None:
    step = _step("update", _state(a=1), _state(a=2), detailedDiff={"a": {"kind": "update"}}, diffReasons=["a"])
    (found,) = plan_from_preview({"steps": [step]}, "prod").steps or ()
    assert (found.operation, found.changed, found.replaces) == ("update", ("a",), ())
    assert found.old is not None
    assert found.old.inputs == {"a": 1}


def test_a_replacement_is_one_step_and_says_what_forces_it() -> None:
    old, new = _state(identifier="a"), _state(identifier="b")
    detailed = {"identifier": {"kind": "update-replace"}, "tags": {"kind": "update"}}
    document = {
        "steps": [
            _step("create-replacement", old, new, detailedDiff=detailed),
            _step("replace", old, new, detailedDiff=detailed, replaceReasons=["identifier"]),
            _step("delete-replaced", old),
        ]
    }
    plan = plan_from_preview(document, "prod")
    (found,) = plan.steps or ()
    assert (found.operation, found.replaces) == ("replace", ("identifier",))
    assert found.changed == ("identifier", "tags")
    assert [one.inputs for one in plan.resources] == [{"identifier": "b"}]


def test_a_replacement_told_by_its_parts_alone_is_one_too() -> None:
    old, new = _state(identifier="a"), _state(identifier="b")
    document = {"steps": [_step("delete-replaced", old), _step("create-replacement", old, new)]}
    plan = plan_from_preview(document, "prod")
    assert [(one.operation, one.new is not None) for one in plan.steps or ()] == [("replace", True)]


def test_what_is_deleted_is_in_the_steps_and_not_among_the_resources() -> None:
    plan = plan_from_preview({"steps": [_step("delete", _state(a=1))]}, "prod")
    assert plan.resources == []
    assert [one.operation for one in plan.steps or ()] == ["delete"]


def test_unknown_inputs_say_where_they_come_from() -> None:
    state = {**_state(kmsKeyId=UNKNOWN), "propertyDependencies": {"kmsKeyId": ["urn:key"]}}
    (found,) = plan_from_preview({"steps": [_step("create", None, state)]}, "prod").resources
    assert found.inputs["kmsKeyId"] == Unknown(("urn:key",))


@pytest.mark.parametrize(
    "document", [{}, {"steps": "no"}, {"steps": [_step("teleport", None, _state())]}, {"steps": [_step("update")]}]
)
def test_what_is_no_preview_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(PreviewError):
        plan_from_preview(document, "prod")


def test_the_place_is_a_line_of_the_program_itself() -> None:
    stated = {
        "sourcePosition": "project:///.mlops/venv/lib/python3.11/site-packages/pulumi_aws/provider.py#12",
        "stackTrace": [
            {},
            {"sourcePosition": "project:///infra/engine/program.py#71"},
            {"sourcePosition": "project:///components/aws.py#81"},
        ],
    }
    assert place_of(stated) == "components/aws.py:81"
    assert place_of({}) == ""
