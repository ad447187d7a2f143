"""`mlops down` asks before anything is lost."""

from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.cli.app import app
from infra.cli.context import Context


class Engine:
    """Says what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def destroy(self, *arguments: str) -> None:
        self.asked.append(("destroy", *arguments))

    def remove(self) -> None:
        self.asked.append(("remove",))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    found = Engine()
    monkeypatch.setattr(Context, "engine", found)
    return found


def down(*arguments: str, **more: Any) -> Result:
    return CliRunner().invoke(app, ["down", *arguments], **more)


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        ("dev", "in account 111111111111, eu-central-1, with its database, buckets, tables"),
        ("dev-releases", "no model is served any more by the platform 'dev' in account 111111111111"),
    ],
)
def test_nothing_in_an_account_is_destroyed_without_a_yes(engine: Engine, stack: str, said: str) -> None:
    asked = down(stack, input="n\n")

    assert said in asked.output
    assert asked.exit_code == 1
    assert engine.asked == []


def test_nobody_to_ask_is_no_yes(engine: Engine) -> None:
    assert down("dev", input="").exit_code == 1
    assert engine.asked == []


@pytest.mark.parametrize(("answer", "options"), [("y\n", ()), ("", ("--yes",))])
def test_with_a_yes_it_is_destroyed_and_the_state_stays(engine: Engine, answer: str, options: tuple[str, ...]) -> None:
    done = down("dev", *options, input=answer)

    assert done.exit_code == 0
    assert engine.asked == [("destroy",)]
    assert "data is kept" not in done.output


def test_production_is_destroyed_by_a_program_whose_hooks_look(engine: Engine) -> None:
    down("prod", "--yes", "--purge")

    assert engine.asked == [("destroy", "--run-program"), ("remove",)]
