"""The steps by which a model is trained outside of one machine, whatever runs them: the programs of the local target.

Steps share no disk. What one hands on is put at a place in a bucket when it has ended, and fetched from there by the
next; places are below a folder of the run's own, so that two runs do not mix their data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from components.models import Model, states_online_features

Handed = tuple[str, str, str]
"""Name of an input or output, its place below the run's folder, and its path below the work folder."""
_RESULT = ("result", "result")
"""Name and path of a step's result."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        name: its name.
        command: program of the training image and its arguments; without the seed.
        environment: its variables; no secrets.
        inputs: what it gets from the steps before it.
        outputs: what it hands on; the last is the folder of its result, which is there when it has ended.
        seeded: whether it takes `--seed`.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    inputs: tuple[Handed, ...] = ()
    outputs: tuple[Handed, ...] = ()
    seeded: bool = False


def steps_of(
    project: str, model: Model, work: str, environment: Mapping[str, str], registry: Mapping[str, str]
) -> list[Step]:
    """The steps of a model, in their order.

    Args:
        project: folder of the project.
        model: the model.
        work: folder that a step works in.
        environment: variables of all steps.
        registry: variables of the step that registers what it trained.
    """
    common = {**environment, "MLOPS_DATA_DIR": f"{work}/data", "MLOPS_JOB_RESULT": f"{work}/result/result.json"}
    folder = f"--folder={model.folder}"
    snapshots: Handed = ("snapshots", "snapshots", "data/snapshots")
    features: Handed = ("features", "features", "data/feature_store")
    ingest = Step(
        name="ingest",
        command=module("training.pipelines.ingest", folder),
        environment=common,
        outputs=(snapshots, _result("ingest")),
    )
    found, inputs = [ingest], [snapshots, _earlier("ingest")]
    earlier = {"MLOPS_INGEST": f"@{work}/ingest/result.json"}
    if states_online_features(project, model.folder):
        found.append(
            Step(
                name="materialize",
                command=module("training.pipelines.materialize", folder),
                environment=common | earlier,
                inputs=tuple(inputs),
                outputs=(features, _result("materialize")),
            )
        )
        inputs += [features, _earlier("materialize")]
        earlier = earlier | {"MLOPS_MATERIALIZE": f"@{work}/materialize/result.json"}
    assignments = [f"--param={name}={_text(value)}" for name, value in sorted(model.params.items())]
    train = Step(
        name="train",
        command=module("training.pipelines.train", folder, *assignments),
        environment={**common, **earlier, **registry},
        inputs=tuple(inputs),
        outputs=(_result("train"),),
        seeded=True,
    )
    return [*found, train]


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """Command of a program of the training image."""
    return ("python", "-m", name, *arguments)


def _result(step: str) -> Handed:
    name, path = _RESULT
    return (name, step, path)


def _earlier(step: str) -> Handed:
    """The result of an earlier step, as an input."""
    return (step, step, step)


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else json.dumps(value)
