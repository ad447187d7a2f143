"""Typed settings of a stack: read once, checked before anything is touched, frozen from then on.

`read_program` serves the Pulumi program, `load_stack_file` the command line; both give the same for the same files.
`python -m infra.settings --write` writes what is made from the model: the editors' schemas and `docs/settings.md`.
"""

from infra.settings.model import Settings
from infra.settings.problems import Problem, SettingsError
from infra.settings.sources import load_stack_file, read_program, secret_keys

__all__ = ["Problem", "Settings", "SettingsError", "load_stack_file", "read_program", "secret_keys"]
