"""No secret in plain text."""

import base64
import json
from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.security.secrets import no_plain_secret
from policies.testing import admit, deny, reads_nothing_unknown, resource, secret, unknown

RANDOM = "q7Zr2mXv9KdT4wLs8PbN1c"
# Put together here, so that nothing that scans this file takes them for real.
FOUND = {
    "access key of AWS": "AKIA" + "IOSFODNN7EXAMPLE",
    "temporary access key of AWS": "ASIA" + "IOSFODNN7EXAMPLE",
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMII",
    "token of GitHub": "ghp_" + "a1" * 18,
    "token of GitLab": "glpat-" + "a1" * 10,
    "token of Slack": "xoxb-" + "1234567890-abc",
    "token of Hugging Face": "hf_" + "aB" * 17,
    "key of Google": "AIza" + "a1" * 17 + "b",
    "signed token (JWT)": "eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIxMjM0In0.abcdefghijkl",
    "password in a URL": "postgresql://mlops:" + "hunter22@db.example:5432/mlops",
}


def anything(**inputs: Any) -> Resource:
    return resource("aws:lambda/function:Function", "one", inputs)


@pytest.mark.parametrize(("what", "text"), FOUND.items())
def test_what_looks_like_a_key_is_found_wherever_it_stands(what: str, text: str) -> None:
    for inputs, path in (
        ({"note": text}, "note"),
        ({"values": [{"a": {"b": f"x {text} y"}}]}, "values[0].a.b"),
        ({"document": json.dumps({"deep": [text]})}, "document"),
        ({"userData": base64.b64encode(f"#!/bin/sh\n# {text}\n".encode()).decode()}, "userData"),
    ):
        (found,) = deny(no_plain_secret, anything(**inputs), says=what, path=path)
        assert text not in found.text


@pytest.mark.parametrize(
    "name", ["password", "masterPassword", "DB_PASSWORD", "secretString", "private_key", "passphrase"]
)
def test_a_name_that_means_a_secret_makes_any_known_value_one(name: str) -> None:
    (found,) = deny(no_plain_secret, anything(**{name: "hunter2"}), says=name, path=name)
    assert "hunter2" not in found.text
    variables = [{"name": "HOME", "value": "/tmp"}, {"name": name, "value": "hunter2"}]
    deny(no_plain_secret, anything(env=variables), says=name, path="env[1].value")
    deny(no_plain_secret, anything(settings=json.dumps({name: "hunter2"})), path=f"settings.{name}")


@pytest.mark.parametrize("name", ["apiKey", "token", "clientSecret", "MLOPS_TOKEN", "accessKey"])
def test_a_name_that_may_mean_one_does_where_the_value_looks_random(name: str) -> None:
    deny(no_plain_secret, anything(**{name: RANDOM}), path=name)
    for harmless in ("registration", "grafana-admin", "value", "aaaaaaaa11111111", "two words 1 and 2 more", "short1"):
        admit(no_plain_secret, anything(**{name: harmless}))


@pytest.mark.parametrize(
    "value", ["", "[secret]", "/run/secrets/password", "arn:aws:secretsmanager:eu:1:secret:x", "${ref}"]
)
def test_references_are_no_secrets(value: str) -> None:
    admit(no_plain_secret, anything(password=value))


def test_a_value_looks_random_from_sixteen_signs_of_more_than_three_bits_on() -> None:
    deny(no_plain_secret, anything(token="a1b2c3d4e5f6g7h8"))
    admit(no_plain_secret, anything(token="a1b2c3d4e5f6g7h"))
    admit(no_plain_secret, anything(token="a1b2c3d4a1b2c3d4"))
    admit(no_plain_secret, anything(token="abcdefghijklmnopqrst"))
    admit(no_plain_secret, anything(token="12345678906789054321"))


def test_documents_inside_documents_are_looked_into_twice() -> None:
    once = json.dumps({"password": "hunter2"})
    twice = json.dumps({"inner": once})
    deny(no_plain_secret, anything(document=twice), path="document.inner.password")
    admit(no_plain_secret, anything(document=json.dumps({"outer": twice})))
    empty = len(json.dumps({"password": "hunter2", "filler": ""}))
    longest, longer = ({"password": "hunter2", "filler": "x" * (size - empty)} for size in (100_000, 100_001))
    deny(no_plain_secret, anything(document=json.dumps(longest)), path="document.password")
    admit(no_plain_secret, anything(document=json.dumps(longer)))


def test_what_is_marked_or_not_known_or_no_text_is_admitted() -> None:
    admit(no_plain_secret, anything(password=secret("hunter2"), token=unknown(), secret=7, apiKey=True))
    admit(no_plain_secret, anything(env=[{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}}]))
    admit(no_plain_secret, anything(endpoint="https://login.acme.example/keys", document="{not json", userData="%%"))


def test_a_secret_of_kubernetes_is_marked() -> None:
    kind = "kubernetes:core/v1:Secret"
    admit(no_plain_secret, resource(kind, "tls", data={"key": secret("YQ==")}, stringData=secret({"a": "b"})))
    admit(no_plain_secret, resource(kind, "tls", data={"key": "", "other": "[secret]"}))
    deny(no_plain_secret, resource(kind, "tls", data={"key": "YQ=="}), path="data.key")
    deny(no_plain_secret, resource(kind, "tls", stringData={"key": "a"}), path="stringData.key")


def test_it_cannot_be_kept_from_telling() -> None:
    why = "a value that the preview does not know does not stand in the program's text"
    reads_nothing_unknown(no_plain_secret, anything(note="plain"), why=why)


def test_what_looks_random_is_long_and_holds_letters_and_digits() -> None:
    deny(no_plain_secret, anything(token="a1b2c3d4e5f6g7h8"), path="token")
    for harmless in ("a1b2c3d4e5f6g7h", "abcdefghijklmnopqr", "31415926535897932384"):
        admit(no_plain_secret, anything(token=harmless))


def test_text_of_eight_signs_each_as_often_is_not_random_enough() -> None:
    admit(no_plain_secret, anything(token="abcd1234abcd1234"))


def test_text_inside_texts_is_read_twice_and_no_deeper() -> None:
    once = json.dumps({"password": "hunter2"})
    twice = json.dumps({"inner": once})
    deny(no_plain_secret, anything(document=twice), says="password")
    admit(no_plain_secret, anything(document=json.dumps({"outer": twice})))


def test_text_longer_than_the_most_is_not_parsed_and_one_of_that_length_is() -> None:
    def text(length: int) -> str:
        short = json.dumps({"password": "hunter2", "fill": ""})
        return json.dumps({"password": "hunter2", "fill": "x" * (length - len(short))})

    assert len(text(100_000)) == 100_000
    deny(no_plain_secret, anything(document=text(100_000)), says="password")
    admit(no_plain_secret, anything(document=text(100_001)))


def test_start_script_that_is_no_base64_is_left_alone() -> None:
    admit(no_plain_secret, anything(userData="#!/bin/sh"))


def test_start_script_is_read_with_its_lines_broken() -> None:
    encoded = base64.b64encode(("# " + FOUND["access key of AWS"]).encode()).decode()
    deny(no_plain_secret, anything(userData=f"{encoded[:8]}\n{encoded[8:]}"), says="access key of AWS")


def test_each_input_and_each_value_is_looked_at() -> None:
    two = {"password": "hunter2", "passphrase": "hunter2"}
    deny(no_plain_secret, anything(**two), times=2)
    deny(no_plain_secret, anything(settings=two), times=2)
    deny(no_plain_secret, resource("kubernetes:core/v1:Secret", "tls", data={"a": "YQ==", "b": "YQ=="}), times=2)
