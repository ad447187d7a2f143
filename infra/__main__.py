"""The Pulumi program: the settings of the stack become its platform."""

import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))  # the engine runs this folder, not the project

import pulumi  # noqa: E402

from components.platform import Platform  # noqa: E402
from infra import installed  # noqa: E402
from infra.arguments import platform_args  # noqa: E402
from infra.engine.errors import EngineError  # noqa: E402
from infra.engine.stack import Stack  # noqa: E402
from infra.facts import commit_of  # noqa: E402
from infra.releases_target import require_own_trust  # noqa: E402
from infra.settings import SettingsError, read_program, secret_keys  # noqa: E402

# An engine that was not called by `./mlops` has just written there what belongs to this machine alone.
Stack(PROJECT, pulumi.get_stack(), os.environ).drop_generated_salt()

try:
    settings = read_program(PROJECT)
    require_own_trust(settings, pulumi.get_stack(), preview=pulumi.runtime.is_dry_run())
    args = platform_args(
        settings,
        project=PROJECT,
        stack=pulumi.get_stack(),
        python=sys.executable,
        prometheus=installed.prometheus() if settings.target == "local" else "",
        commit=commit_of(PROJECT),
        secret=secret_keys(),
    )
except (SettingsError, EngineError) as error:
    raise pulumi.RunError(str(error)) from None

for name, value in Platform("platform", args).exports.items():
    pulumi.export(name, value)
