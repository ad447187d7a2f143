import json

import pytest
from google.protobuf import struct_pb2  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from infra.provider.codec import UNKNOWN, Secret, decode, encode, is_known, plain, secret_texts

LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20) | st.just(UNKNOWN)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3) | st.builds(Secret, inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
def test_properties_survive_the_way_to_the_engine_and_back(properties: dict[str, object]) -> None:
    assert decode(encode(properties)) == properties


def test_secret_is_found_in_what_the_engine_sends() -> None:
    struct = struct_pb2.Struct()
    struct.update(
        {"token": {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "hunter2"}}
    )

    assert decode(struct) == {"token": Secret("hunter2")}


@pytest.mark.parametrize("sentinel", ["04da6b54-80e4-46f7-96ec-b56ff0331ba9", "3eeb2bf0-c639-47a8-9e75-3b44932eb421"])
def test_unknown_values_of_any_type_are_unknown(sentinel: str) -> None:
    struct = struct_pb2.Struct()
    struct.update({"port": sentinel})

    assert decode(struct) == {"port": UNKNOWN}


def test_output_values_become_their_value_or_unknown() -> None:
    mark = {"4dabf18193072939515e22adb298388d": "d0e6a833031e9bbcd3f4e8bde6ca49a4"}
    struct = struct_pb2.Struct()
    struct.update({"known": mark | {"value": 3, "secret": True}, "unknown": mark})

    assert decode(struct) == {"known": Secret(3), "unknown": UNKNOWN}


def test_assets_are_refused() -> None:
    struct = struct_pb2.Struct()
    struct.update({"file": {"4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17", "path": "x"}})

    with pytest.raises(ValueError, match="assets"):
        decode(struct)


def test_plain_removes_marks_at_any_depth() -> None:
    assert plain({"a": Secret({"b": [Secret("c")]})}) == {"a": {"b": ["c"]}}


def test_unknown_is_noticed_at_any_depth() -> None:
    assert is_known({"a": [Secret("b"), {"c": 1}]})
    assert not is_known({"a": [Secret({"b": UNKNOWN})]})


def test_texts_of_secrets_are_collected_and_others_are_not() -> None:
    value = {"open": "1", "list": [Secret("2")], "whole": Secret({"a": "3", "b": ["4", 5]})}

    assert sorted(secret_texts(value)) == ["2", "3", "4"]


def test_representation_of_a_secret_does_not_show_it() -> None:
    assert "hunter2" not in repr({"token": Secret("hunter2")})


def test_whole_numbers_stay_whole_and_others_do_not() -> None:
    assert json.dumps(decode(encode({"a": [1, 0.5]}))) == '{"a": [1, 0.5]}'
