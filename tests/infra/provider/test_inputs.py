import pytest

from infra.provider.codec import UNKNOWN, Secret
from infra.provider.inputs import Input, absolute_path, between, check, http_address, name, one_of, text, variable

FIELDS = {
    "name": Input(rule=name, required=True),
    "port": Input(rule=between(1, 65535), default=80),
    "kind": Input(rule=one_of("a", "b")),
    "token": Input(rule=between(1, 9), secret=True),
    "environment": Input(each=Input(rule=text, secret=True), keys=variable, default={}),
    "health": Input(fields={"tcp": Input(rule=between(1, 65535), required=True)}),
    "command": Input(items=Input(rule=text)),
}


def test_defaults_are_filled_in_and_secrets_marked() -> None:
    inputs, problems = check(FIELDS, {"name": "a", "token": 3, "environment": {"A": "x"}})

    assert problems == []
    assert inputs == {"name": "a", "port": 80, "token": Secret(3), "environment": {"A": Secret("x")}}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "`name` is missing"),
        ({"name": "A"}, "`name` is 'A': allowed are 1 to 63 of a-z, 0-9 and - inside"),
        ({"name": "a", "port": 0}, "`port` is 0: must be a whole number from 1 to 65535"),
        ({"name": "a", "port": True}, "`port` is True: must be a whole number from 1 to 65535"),
        ({"name": "a", "kind": "c"}, "`kind` is 'c': must be one of a, b"),
        ({"name": "a", "prot": 1}, "`prot` is not known; did you mean `port`?"),
        ({"name": "a", "health": {}}, "`health.tcp` is missing"),
        ({"name": "a", "health": 3}, "`health` must be an object, not a number"),
        ({"name": "a", "command": "x"}, "`command` must be a list, not text"),
        ({"name": "a", "command": ["x", 1]}, "`command[1]` is 1: must be text"),
        ({"name": "a", "environment": {"A-B": "x"}}, "`environment` has the key 'A-B': a variable's name has letters"),
        ({"name": "a", "token": 99}, "`token` is a secret that does not fit: must be a whole number from 1 to 9"),
        ({"name": "a", "port": Secret(99999)}, "`port` is a secret that does not fit: must be a whole number from"),
    ],
)
def test_wrong_input_gives_a_reason_that_names_it(given: dict[str, object], problem: str) -> None:
    _inputs, problems = check(FIELDS, given)

    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_reasons_never_hold_a_secret() -> None:
    secrets = {"token": "hunter2", "port": Secret("hunter2"), "health": Secret({"tcp": "hunter2"})}

    _inputs, problems = check(FIELDS, {"name": "a", **secrets, "environment": Secret({"hunter2-": "hunter2"})})

    assert len(problems) == 4
    assert "hunter2" not in " ".join(problems)


def test_unknown_values_pass_and_stay_secret() -> None:
    inputs, problems = check(FIELDS, {"name": UNKNOWN, "token": UNKNOWN, "environment": UNKNOWN})

    assert problems == []
    assert inputs == {"name": UNKNOWN, "port": 80, "token": Secret(UNKNOWN), "environment": UNKNOWN}


def test_object_that_came_secret_stays_secret_as_a_whole() -> None:
    inputs, problems = check(FIELDS, {"name": "a", "environment": Secret({"A": "x"})})

    assert problems == []
    assert inputs["environment"] == Secret({"A": "x"})


@pytest.mark.parametrize("address", ["http://127.0.0.1:5000/health", "https://a.example"])
def test_http_address_is_taken(address: str) -> None:
    assert http_address(address) is None


@pytest.mark.parametrize("address", ["127.0.0.1:5000", "http://user:pass@host/", "ftp://host", 3])
def test_other_address_is_refused(address: object) -> None:
    assert http_address(address) is not None


@pytest.mark.parametrize("path", ["relative", "/with'quote", "/with;semicolon", "/with\nbreak", ""])
def test_path_that_would_break_the_supervisors_files_is_refused(path: str) -> None:
    assert absolute_path(path) is not None
