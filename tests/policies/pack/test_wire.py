"""The engine's messages as values of a plan, in both of its forms."""

import json

import pytest
from google.protobuf import struct_pb2  # type: ignore[import-untyped]

from policies.pack.wire import SECRET, SIGNATURE, UNKNOWN_TEXTS, from_json, properties, resource_from_json
from policies.plan import Secret, Unknown

OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
ASSET = "c44067f5952c0a294b673a41bacd8c17"


def both(value: object, origins: tuple[str, ...] = ()) -> object:
    """Read a value in each form; they must agree."""
    message = struct_pb2.Struct()
    message.update({"x": value})
    read = properties(message, {"x": origins})["x"]
    assert read == from_json(json.loads(json.dumps(value)), origins)
    return read


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (True, True),
        (3.0, 3),
        (0.5, 0.5),
        (-2.0, -2),
        (None, None),
        ([1.0, "a"], (1, "a")),
        ({"a": [{"b": None}]}, {"a": ({"b": None},)}),
        ({SIGNATURE: SECRET, "value": {"a": 1.0}}, Secret({"a": 1})),
        ({SIGNATURE: OUTPUT, "value": "v", "secret": True}, Secret("v")),
        ({SIGNATURE: OUTPUT, "value": "v"}, "v"),
        ({SIGNATURE: ASSET, "path": "a.txt"}, {"path": "a.txt"}),
    ],
)
def test_value_is_read(value: object, expected: object) -> None:
    read = both(value)
    assert read == expected
    assert type(read) is type(expected) or not isinstance(expected, str | int | float | bool | Secret)


@pytest.mark.parametrize("text", sorted(UNKNOWN_TEXTS))
def test_each_text_of_the_unknown_is_read_with_its_origins(text: str) -> None:
    assert both(text, ("urn",)) == Unknown(("urn",))
    assert both([{"a": text}], ("urn",)) == ({"a": Unknown(("urn",))},)
    assert both({SIGNATURE: SECRET, "value": text}, ("urn",)) == Secret(Unknown(("urn",)))


@pytest.mark.parametrize(
    "value", [{SIGNATURE: OUTPUT}, {SIGNATURE: OUTPUT, "dependencies": ["a"]}], ids=["bare", "with dependencies"]
)
def test_output_without_a_value_is_unknown(value: object) -> None:
    assert both(value) == Unknown()


def test_secret_without_a_value_is_an_unknown_one() -> None:
    assert both({SIGNATURE: SECRET, "ciphertext": "…"}) == Secret(Unknown())


def test_truth_is_no_number() -> None:
    assert both(True) is True
    assert type(both(1.0)) is int


def test_resource_of_a_preview_is_read_in_full() -> None:
    found = resource_from_json(
        {
            "urn": "urn:pulumi:s::p::a:b:C::c",
            "type": "a:b:C",
            "inputs": {"bucket": "04da6b54-80e4-46f7-96ec-b56ff0331ba9", "size": 3.0},
            "parent": "urn:parent",
            "provider": "urn:provider::04da6b54-80e4-46f7-96ec-b56ff0331ba9",
            "protect": True,
            "dependencies": ["urn:bucket"],
            "propertyDependencies": {"bucket": ["urn:bucket"], "size": None},
            "sourcePosition": "project:///components/buckets.py#52,3",
        }
    )
    assert (found.urn, found.type, found.parent, found.protect) == (
        "urn:pulumi:s::p::a:b:C::c", "a:b:C", "urn:parent", True,
    )  # fmt: skip
    assert found.provider == "urn:provider"
    assert found.inputs == {"bucket": Unknown(("urn:bucket",)), "size": 3}
    assert found.dependencies == ("urn:bucket",)
    assert found.property_dependencies == {"bucket": ("urn:bucket",), "size": ()}
    assert found.place == "components/buckets.py:52"


def test_resource_that_says_little_is_read() -> None:
    found = resource_from_json({"urn": "u", "type": "t"})
    assert (found.inputs, found.parent, found.provider, found.protect, found.place) == ({}, "", "", False, "")
