"""Commands about the project itself: `test`, `bench`, `doctor`, `pulumi`, `env`."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from infra.cli.context import DEFAULT_STACK, PROJECT
from infra.cli.failures import REPORT_OPTIONS, failures
from infra.cli.output import CommandFailed, err, print_json, print_table, say
from infra.cli.steps import Step, room_for_both, run_steps
from infra.engine import crds
from infra.engine import doctor as checks
from infra.engine.environment import engine_environment
from infra.engine.stack import pass_through
from infra.engine.tools import ensure

_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}
_FAST = [
    *("-m", "not engine and not local and not slow", "--hypothesis-profile=fast"),
    *("--ignore=tests/engine", "--ignore=tests/local"),  # each of them is marked, and reading them takes seconds
]
_NOTHING_TO_RUN = 5
"""What pytest ends with where it was to run no test, as when its arguments name those of the other step."""


def _side_by_side() -> list[str]:
    """Return how tests share the cores; those of a file stay together, since they share what they have started.

    Files are begun in the order in which tests/conftest.py puts them, long ones first.
    """
    return ["-n", str(max(2, min(4, os.cpu_count() or 2))), "--dist", "loadfile", "--no-loadscope-reorder"]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("test", context_settings=_EXTRA)(check)
    app.command(context_settings=_EXTRA)(bench)
    app.command()(doctor)
    app.command(context_settings=_PASS_THROUGH)(pulumi)
    app.command()(env)


def check(
    context: typer.Context,
    fast: Annotated[bool, typer.Option("--fast", help="Only what fits between two edits (≤ 1 min).")] = False,
    apart: Annotated[bool, typer.Option("--apart", help="The platform's tests after the others, not beside.")] = False,
) -> None:
    """Run every check: lint, formatting, strict types, import contracts, tests. Further arguments go to pytest."""
    if not fast:
        # Here and not in a test: building one takes longer than a test may.
        for tool in ("pulumi", "prometheus", "etcd", "kube-apiserver", "actionlint"):
            ensure(tool, say)
        crds.ensure(say)
    python = sys.executable
    scripts = os.path.dirname(python)  # noqa: PTH120 - not resolved: a virtual environment's python is a link
    with tempfile.TemporaryDirectory() as folder:
        reports = [Path(folder, "tests.xml"), Path(folder, "platform.xml")]
        pytest = [python, "-m", "pytest", "--durations=15", *REPORT_OPTIONS, "--junitxml"]
        chosen = _FAST if fast else ["-m", "not local"]
        tests = Step("tests", [*pytest, str(reports[0]), *_side_by_side(), *chosen, *context.args], _NOTHING_TO_RUN)
        platform = Step(
            "tests of the platform", [*pytest, str(reports[1]), "-m", "local", *context.args], _NOTHING_TO_RUN
        )
        groups: list[tuple[Step, ...]] = [
            (Step("lint", [f"{scripts}/ruff", "check", "."]),),
            (Step("format", [f"{scripts}/ruff", "format", "--check", "."]),),
            (Step("types", [python, "-m", "mypy"]),),
            (Step("import contracts", [f"{scripts}/lint-imports"]),),
        ]
        if fast:
            groups.append((tests,))
        elif apart or context.args or not room_for_both():
            groups += [(tests,), (platform,)]
        else:
            groups.append((tests, platform))
        codes = run_steps(groups, PROJECT)
        failed = [name for name, code in codes.items() if code not in (0, _NOTHING_TO_RUN)]
        elsewhere = any(argument.startswith("--junit") for argument in context.args)  # the report is wanted there
        for step, report in zip((tests, platform), reports, strict=True):
            if step.name in failed and not elsewhere:
                _say_what_failed(step.name, report)
    if all(codes[step.name] == _NOTHING_TO_RUN for step in (tests, platform) if step.name in codes):
        failed.append("tests (none was found)")
    if failed:
        raise CommandFailed(f"failed: {', '.join(failed)}")


def _say_what_failed(step: str, report: Path) -> None:
    found = failures(report)
    if found is None:
        say(f"── {step}: ended before its end, see above")
    for test, reason in found or ():
        say(f"FAILED {test}: {reason}")


def bench(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(help="serving: requests/s and latency beside peers; up: time and memory of `up`.")
    ],
) -> None:
    """Measure, with peers in the same run. Further arguments go to the benchmark (try --help)."""
    known = sorted(path.stem for path in (PROJECT / "benchmarks").glob("*.py") if not path.stem.startswith("_"))
    known.remove("load")
    if what not in known:
        raise CommandFailed(f"no benchmark {what!r}; there are: {', '.join(known)}", exit_code=2)
    command = [sys.executable, "-m", f"benchmarks.{what}", *context.args]
    code = subprocess.run(command, cwd=PROJECT, check=False).returncode
    if code != 0:
        raise CommandFailed(f"benchmark {what} ended with exit code {code}")


def doctor(
    stack: Annotated[str, typer.Argument(help="Stack whose ports are checked.")] = DEFAULT_STACK,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what is missing or odd on this machine, and how to mend it."""
    results = checks.run(PROJECT, stack)
    failed = [check for check in results if check.status == "fail"]
    if as_json:
        print_json({"ok": not failed, "checks": [check.as_dict() for check in results]})
    else:
        signs = {"ok": "✓", "warn": "!", "fail": "✗"}
        print_table(
            "This machine",
            ["", "check", "found", "what to do"],
            [(signs[check.status], check.name, check.found, check.mend) for check in results],
        )
    if failed:
        raise CommandFailed(
            f"{len(failed)} of {len(results)} checks failed: {', '.join(check.name for check in failed)}"
        )


def pulumi(context: typer.Context) -> None:
    """Run the Pulumi engine with this project's environment: `./mlops pulumi preview -s local`."""
    arguments = list(context.args)
    if arguments[:1] == ["import"] and not any(one.startswith("--generate-code") for one in arguments):
        # What is imported stands in the program already; code for it would be of no use, and needs a schema.
        arguments.append("--generate-code=false")
    environment = engine_environment(PROJECT, say)
    if arguments[:1] == ["login"] and "PULUMI_BACKEND_URL" not in os.environ:
        # Where nobody has chosen a backend yet, ours would be told to conflict with the one that is chosen now.
        environment.pop("PULUMI_BACKEND_URL", None)
    raise SystemExit(pass_through(PROJECT, environment, arguments, say))


def plain_pulumi(project: Path) -> str:
    """Return a shell function by which `pulumi`, typed in the project's folder, is `./mlops pulumi`.

    The engine by itself writes the salt of this machine's passphrase into the stack's file, see `infra.engine.stack`.
    A function, and not a program on PATH: what looks for an engine must find the engine. In other folders it is that.
    """
    root = shlex.quote(str(project))
    return "\n".join(
        (
            "pulumi() {",
            '    case "$PWD/" in',
            f'        {root}/*) {root}/mlops pulumi "$@" ;;',
            '        *) command pulumi "$@" ;;',
            "    esac",
            "}",
        )
    )


def env() -> None:
    """Print what makes plain `pulumi` work in a shell: `eval "$(./mlops env)"`."""
    environment = engine_environment(PROJECT, say)
    for name in sorted(environment):
        if environment[name] != os.environ.get(name):
            typer.echo(f"export {name}={shlex.quote(environment[name])}")
    typer.echo(plain_pulumi(PROJECT))
    err.print("# now plain `pulumi` works here: pulumi preview -s local", style="dim")
