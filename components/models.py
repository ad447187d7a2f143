"""A model as components see it: where its code is, and how a stack trains and serves it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.blueprint import Shadow, Strategy
from components.code import MODEL_FILE

SHARED_GROUP = "shared"


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """How many processes serve a group; `target_ongoing` is the requests in flight per replica to aim at.

    `upscale_delay_seconds` and `downscale_delay_seconds` are how long there must be reason for more or for fewer.
    """

    min: int = 1
    max: int = 1
    target_ongoing: int = 32
    upscale_delay_seconds: int = 10
    downscale_delay_seconds: int = 300


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model of a stack.

    Attributes:
        name: name in addresses, the registry and the stack.
        folder: folder of its code, relative to the project.
        version: `latest`, or a registered version as text.
        seed: seed of its training.
        own_group: whether it has a serving group of its own.
        replicas: replicas of that group.
        schedule: five cron fields in UTC; None when it is trained only when its code or data change.
        strategy: how a new version takes over.
        params: training parameters that differ from those of its folder.
        manifest: the release manifest of a pinned version; what training makes is then not what is released.
        previous: manifest of the newest version before a pinned one that has a manifest.
        shadows: further versions that get copies of its requests.
    """

    name: str
    folder: str
    version: str = "latest"
    seed: int = 7
    own_group: bool = False
    replicas: Replicas = field(default_factory=Replicas)
    schedule: str | None = None
    strategy: Strategy = field(default_factory=Strategy)
    params: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    manifest: Mapping[str, Any] | None = None
    previous: Mapping[str, Any] | None = None
    shadows: tuple[Shadow, ...] = ()

    @property
    def group(self) -> str:
        """The serving group that holds it."""
        return self.name if self.own_group else SHARED_GROUP


def states_online_features(project: str, folder: str) -> bool:
    """Whether the model in a folder looks features up in the feature store.

    Read off the source, since importing a model is the business of its jobs: `MODEL` is a `ModelSpec(…)` that has, or
    has not, an argument `online`.

    Raises:
        SyntaxError: the model's file is not Python.
    """
    file = Path(project) / folder / MODEL_FILE
    tree = ast.parse(file.read_text("utf-8"), filename=str(file))
    return any(
        isinstance(node, ast.Call)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")) == "ModelSpec"
        and any(
            argument.arg == "online" and not (isinstance(argument.value, ast.Constant) and argument.value.value is None)
            for argument in node.keywords
        )
        for node in ast.walk(tree)
    )
