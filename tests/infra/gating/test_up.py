"""`mlops up` and `mlops gate`: what is refused before anything is created, and how two people break the glass."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from components.gate import GateArgs
from infra.cli import gate, platform
from infra.cli.app import app
from infra.cli.context import Context
from infra.cli.output import CommandFailed
from infra.gating.assessment import Assessment, assess
from infra.settings import Settings
from infra.settings.gates import Gates
from policies.gates.files import break_glass_file, read_break_glass, read_verdict
from policies.releases.keys import AllowedSigner, make_key
from policies.releases.signing import public_key
from tests.infra.gating.conftest import RULES, Played, bucket

Make = Callable[..., Played]


@pytest.fixture
def ups(monkeypatch: pytest.MonkeyPatch, project: Path) -> Callable[[Played], list[str]]:
    """Let `mlops up` be of a played stack; returns the list of operations that really ran."""
    ran: list[str] = []

    def play(played: Played) -> list[str]:
        monkeypatch.setattr(gate, "PROJECT", project)
        monkeypatch.setattr(platform, "ensure", lambda *_: None)
        monkeypatch.setattr(Played, "up", lambda self: ran.append(self.name))
        monkeypatch.setattr(Played, "outputs", lambda self, **_: {})
        settings = Settings.model_construct(
            environment="prod", target="aws", aws=None, foundation=None, gates=Settings().gates
        )
        monkeypatch.setattr(Context, "settings", settings)
        monkeypatch.setattr(Context, "engine", played)
        monkeypatch.setattr(gate, "assessed", lambda _context: assess(played, project, RULES, gate._clock()))
        return ran

    return play


def up() -> str:
    """Run the command as far as the engine; returns why it was refused."""
    try:
        gate.before_up(Context("prod"))
    except CommandFailed as error:
        return str(error)
    return ""


def test_up_is_refused_before_anything_is_created_and_says_each_reason(
    stack: Make, ups: Callable[[Played], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = ups(stack(bucket("delete")))

    with pytest.raises(CommandFailed, match="stack prod is left as it is: 1 things stop it"):
        platform.up("prod")

    assert ran == []
    told = capsys.readouterr().err
    assert "STOPS: rollback.two (data): [failed] it is deleted" in told
    assert "to mend it: keep it" in told


def test_up_is_refused_when_nobody_signs_the_verdict(stack: Make, ups: Callable[[Played], list[str]]) -> None:
    ups(stack())

    assert "its gate would stay closed: the verdict is not signed" in up()


def test_up_goes_on_with_a_signed_verdict(
    stack: Make, ups: Callable[[Played], list[str]], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ups(stack())
    monkeypatch.setenv("MLOPS_GATE_KEY", str(project / "key"))

    assert up() == ""
    verdict = read_verdict(project / ".mlops/gates/prod")
    assert verdict is not None
    assert verdict.principal == "ci@acme"


def test_up_of_a_dirty_tree_is_refused_even_with_a_key(
    stack: Make, ups: Callable[[Played], list[str]], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ups(stack(gate={"commit": "a" * 40 + "-dirty"}))
    monkeypatch.setenv("MLOPS_GATE_KEY", str(project / "key"))

    assert "commit or remove them" in up()


def test_a_question_that_only_the_account_answers_stops_up_when_it_cannot_be_asked(
    stack: Make, ups: Callable[[Played], list[str]], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = {
        "rule": "security.one", "status": "deferred", "level": "mandatory", "severity": "high", "text": "the moon",
        "check": {"name": "moon"},
    }  # fmt: skip
    ups(stack(evaluation={"findings": [finding], "counts": {"deferred": 1}, "asked": ["security.one"]}))
    monkeypatch.setenv("MLOPS_GATE_KEY", str(project / "key"))

    assert "1 things stop it" in up()


def test_two_people_let_up_go_on_loudly(
    stack: Make, ups: Callable[[Played], list[str]], project: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    people = {name: make_key(project / name, name) for name in ("asha@acme", "ben@acme")}
    lines = [
        AllowedSigner((name,), ("mlops-gate:break-glass",), public_key(key)).line() for name, key in people.items()
    ]
    (project / "keys").write_text("\n".join(lines))
    ups(stack(bucket("delete"), gate={"allowedSigners": "\n".join(lines)}))
    args: Mapping[str, Any] = {"environment": "prod", "stack": "prod", "client": "acme", "target": "aws"}
    monkeypatch.setattr(
        gate, "_gate",
        lambda _context: GateArgs(**args, commit="a" * 40, trust_root="prod", allowed_signers="\n".join(lines)),
    )  # fmt: skip

    monkeypatch.setenv("MLOPS_GATE_KEY", str(project / "asha@acme"))
    first = CliRunner().invoke(app, ["gate", "break-glass", "prod", "--reason", "the region is down", "--json"])
    assert first.exit_code == 0, first.output
    assert "1 things stop it" in up()

    monkeypatch.setenv("MLOPS_GATE_KEY", str(project / "ben@acme"))
    assert CliRunner().invoke(app, ["gate", "break-glass", "prod"]).exit_code == 0
    statement = read_break_glass(project / ".mlops/gates/prod")
    assert statement is not None
    assert [one.principal for one in statement.witnesses] == ["asha@acme", "ben@acme"]

    capsys.readouterr()
    assert up() == ""
    assert "BREAK-GLASS: asha@acme and ben@acme answer for changing prod: the region is down" in capsys.readouterr().err
    shown = CliRunner().invoke(app, ["gate", "show", "prod", "--json"])
    assert json.loads(shown.stdout)["breakGlass"]["reason"] == "the region is down"


def test_breaking_the_glass_needs_a_key_and_a_reason(
    ups: Callable[[Played], list[str]], stack: Make, project: Path, monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    ups(stack())
    args = GateArgs(
        environment="prod", stack="prod", client="a", target="aws", commit="a" * 40, allowed_signers=allowed
    )
    monkeypatch.setattr(gate, "_gate", lambda _context: args)
    monkeypatch.delenv("MLOPS_GATE_KEY", raising=False)

    with pytest.raises(CommandFailed, match="name your key by MLOPS_GATE_KEY"):
        gate.break_glass("prod", reason="the region is down", hours=1)
    assert not break_glass_file(project / ".mlops/gates/prod").exists()


def test_local_is_judged_before_anything_is_created(
    stack: Make, ups: Callable[[Played], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = {"rule": "security.one", "status": "failed", "level": "mandatory", "severity": "high", "text": "open"}
    ran = ups(stack(evaluation={"findings": [finding], "counts": {"failed": 1}, "asked": ["security.one"]},
                    gate={"environment": "local", "target": "local"}))  # fmt: skip
    monkeypatch.setattr(Context, "settings", Settings())

    for _ in range(2):
        with pytest.raises(CommandFailed, match="stack local is left as it is: 1 things stop it"):
            platform.up("local")
    assert ran == []


def test_local_is_judged_once_a_day_while_no_file_differs(
    stack: Make, ups: Callable[[Played], list[str]], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ups(stack(gate={"environment": "local", "target": "local"}))
    monkeypatch.setattr(Context, "settings", Settings())
    judge, judged = gate.assessed, list[str]()

    def counted(context: Context) -> Assessment:
        judged.append(context.stack)
        return judge(context)

    monkeypatch.setattr(gate, "assessed", counted)
    monkeypatch.setenv("MLOPS_NOW", "2026-11-20T09:00:00+00:00")

    gate.before_up(Context("local"))
    gate.before_up(Context("local"))
    assert len(judged) == 1

    monkeypatch.setenv("MLOPS_NOW", "2026-11-21T09:00:00+00:00")
    gate.before_up(Context("local"))
    assert len(judged) == 2

    (project / "policies/rule.py").write_text("RULE = 2\n")
    gate.before_up(Context("local"))
    assert len(judged) == 3


def test_no_option_takes_a_key() -> None:
    helped = CliRunner().invoke(app, ["gate", "break-glass", "--help"]).output
    assert "--key" not in helped


@pytest.mark.parametrize(("kind", "needed"), [("prod", ["--run-program"]), ("dev", []), ("local", [])])
def test_down_runs_the_program_where_its_hooks_keep_what_holds_state(
    monkeypatch: pytest.MonkeyPatch, kind: str, needed: list[str]
) -> None:
    settings = Settings.model_construct(environment="x", target="aws", gates=Gates(kind=kind))
    monkeypatch.setattr(Context, "settings", settings)

    assert platform._program_needed(Context("prod")) == needed
