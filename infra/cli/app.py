"""The root of the command line: collects the command groups, turns every known failure into words and an exit code."""

import sys

import typer

from infra.cli import (
    audit,
    bootstrap,
    cost,
    feedback,
    gate,
    models,
    platform,
    policies,
    project,
    rehearse,
    release,
    review,
    train,
    upgrade,
)
from infra.cli.output import CommandFailed, err, fail
from infra.engine.errors import EngineError
from infra.settings import SettingsError

app = typer.Typer(
    name="mlops",
    help="An ML platform per environment, as code: bring it up, use it, look at it, take it down.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
platform.register(app)
models.register(app)
feedback.register(app)
train.register(app)
release.register(app)
audit.register(app)
project.register(app)
rehearse.register(app)
bootstrap.register(app)
cost.register(app)
gate.register(app)
policies.register(app)
review.register(app)
upgrade.register(app)


def main() -> None:
    """Run the command line; a failure that we know ends in a message, never in a traceback."""
    try:
        app(prog_name="mlops")
    except CommandFailed as error:
        fail(error)
    except (EngineError, SettingsError) as error:
        fail(CommandFailed(str(error)))
    except KeyboardInterrupt:
        err.print("[bold]interrupted[/]: nothing is lost; run the same command again to continue.")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
