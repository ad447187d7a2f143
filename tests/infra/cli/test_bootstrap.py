"""`mlops bootstrap` refuses what it must before it calls anything, and says what to do next."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.bootstrap import account
from infra.bootstrap.account import Outcome
from infra.cli.app import app
from infra.cli.output import CommandFailed


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["bootstrap", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been made: nothing leaves this machine."""
    wanted: list[Any] = []

    def look(self: account.Account) -> list[Outcome]:
        wanted.append(self)
        return [Outcome("bucket of the state", self.wanted.bucket, "would make" if self.dry else "made")]

    monkeypatch.setattr(account.Account, "run", look)
    return wanted


def test_the_lines_to_use_are_printed(asked: list[Any]) -> None:
    text = run("prod")

    assert "./mlops pulumi login 's3://acme-prod-state-333333333333-eu-central-1?region=eu-central-1'" in text
    assert "stack init prod --secrets-provider='awskms://alias/acme/prod/pulumi?region=eu-central-1'" in text
    assert "No roles for pipelines" in text
    assert asked[0].wanted.trust is None


def test_pipelines_of_a_repository_get_roles(asked: list[Any]) -> None:
    document = json.loads(run("prod", "--repository", "acme/platform", "--json"))

    assert document["roles"] == [
        f"arn:aws:iam::333333333333:role/acme-prod-ci-{rights}" for rights in ("foundation", "releases", "read")
    ]
    trust = asked[0].wanted.trust
    assert (trust.environment, trust.releases_environment) == ("prod", "prod-releases")


def test_a_dry_run_says_that_nothing_was_touched(asked: list[Any]) -> None:
    assert "1 of 1 would be made or changed; nothing was touched" in run("prod", "--dry-run")
    assert asked[0].dry


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("local",), "needs nothing beforehand"),
        (("prod", "--repository", "acme"), "is not owner/name"),
        (("prod", "--repository", "acme/*"), "is not owner/name"),
        (("prod", "--repository", "a/b", "--environment", "x:*"), "may hold letters"),
        (("prod", "--repository", "a/b", "--environment", "x", "--releases-environment", "x"), "are the same"),
        (("prod", "--repository", "a/b", "--issuer", "http://issuer.example"), "not an https address"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    asked: list[Any], arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(CommandFailed, match=said) as caught:
        run(*arguments)

    assert caught.value.exit_code == 2
    assert asked == []
