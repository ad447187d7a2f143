"""The API server's refusals, by field."""

from infra.rehearsal.kubernetes import refusals
from infra.rehearsal.kubernetes.client import ApiError

STRICT = (
    'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
    'unknown field "spec.replica", unknown field "spec.template.spec.containers[0].imagee"'
)


def test_every_unknown_field_is_named() -> None:
    assert refusals.reasons(ApiError(400, "BadRequest", STRICT)) == [
        "spec.replica: unknown field",
        "spec.template.spec.containers[0].imagee: unknown field",
    ]


def test_causes_become_reasons() -> None:
    causes = (("spec.replicas", "Invalid value: -1: must be greater than or equal to 0"), ("spec.selector", "Required"))
    assert refusals.reasons(ApiError(422, "Invalid", "…", causes)) == [
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        "spec.selector: Required",
    ]


def test_what_is_not_known_yet_is_no_reason() -> None:
    causes = (("spec.role", "Required value"), ("spec.tags[a/b]", "Required"), ("spec.amiFamily", "Unsupported value"))
    error = ApiError(422, "Invalid", "…", causes)
    assert refusals.reasons(error, [("spec", "role"), ("spec", "tags", "a/b")]) == ["spec.amiFamily: Unsupported value"]


def test_places_of_a_list_with_an_unknown_element_are_no_reason() -> None:
    error = ApiError(422, "Invalid", "…", (("spec.ports[0].port", "Required"), ("spec.type", "Unsupported")))
    assert refusals.reasons(error, [("spec", "ports", 1)]) == ["spec.type: Unsupported"]


def test_refused_right_is_told_as_it_is() -> None:
    assert refusals.reasons(ApiError(403, "Forbidden", "pods is forbidden")) == ["refused: pods is forbidden"]


def test_conflict_names_the_other_manager_and_the_way_out() -> None:
    causes = ((".spec.replicas", 'conflict with "kubectl-edit" using apps/v1'),)
    text = refusals.conflict(ApiError(409, "Conflict", "Apply failed with 1 conflict", causes))
    assert ".spec.replicas belong to kubectl-edit" in text
    assert "pulumi.com/patchForce" in text
