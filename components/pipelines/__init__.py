"""Pipelines: how models are trained, now and on a schedule. This is their contract; realisations lie beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Input, Output

from components.component import Component
from components.models import Model


@dataclass(frozen=True, kw_only=True)
class JobCluster:
    """Where jobs run: a Ray cluster by its job API; `ready` must be up before."""

    url: Input[str]
    token: Input[str]
    ready: pulumi.Resource


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where runs and models are registered; `ready` must be up before."""

    url: Input[str]
    username: Input[str]
    password: Input[str]
    ready: pulumi.Resource


@dataclass(frozen=True, kw_only=True)
class PipelinesArgs:
    """What is trained, where, and where its results are registered."""

    cluster: JobCluster
    tracking: Tracking
    models: Sequence[Model]


class Pipelines(Component):
    """The training of an environment's models as jobs that `up` runs and waits for."""

    candidates: Mapping[str, Output[dict[str, Any]]]
    """Result of the training job of each model; each by itself, so that a release waits for its own model only."""

    trained: Output[dict[str, Any]]
    """Version and digest that was trained last, and whether it passed its evaluation, by model."""


class StandingPipelines(Component):
    """The training of an environment's models where it stands ready: the clock, an event or a person starts a run.

    `up` makes what is started and waits for no run. What a run trained is in the registry, signed.
    """

    runs: Output[dict[str, str]]
    """What is started to train each model: the ARN of a SageMaker pipeline, or the name of a CronJob."""
