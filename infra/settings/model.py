"""The settings of one stack: a frozen, typed value that states everything a person may choose.

Every field says its meaning, its unit and its range; the editor's schema, `docs/settings.md` and the error messages
are all made from here. Defaults suit the `local` target on 2 cores and 8 GiB. The model reads no file and no clock:
`infra.settings.sources` brings the values, `infra.settings.problems` turns what is refused into messages for people.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from infra.settings.aws import Aws
from infra.settings.gates import Gates
from infra.settings.section import Section, listed

MODEL_NAME = r"^[a-z][a-z0-9-]{0,39}[a-z0-9]$"
RESERVED_MODEL_NAMES = frozenset({"shared"})
"""Names that a model may not have: a serving group of that name exists already."""

_NAME = r"^[a-z][a-z0-9-]{0,30}$"
PlaceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=31)]
"""What names of cloud resources begin with. RDS takes no hyphen at an end and no two beside each other."""
STACK_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"

Layer = Literal["foundation", "releases"]
StrategyKind = Literal["all-at-once", "canary", "blue-green", "shadow", "ab"]
Parameter = bool | int | float | str


Port = Annotated[int, Field(ge=1024, le=65535)]


class Ports(Section):
    """TCP ports on the loopback interface; all distinct. Defaults stay below the range of outgoing connections."""

    offset: Annotated[int, Field(ge=0, le=20000)] = 0
    """Added to every port that is not stated, so that a second stack fits beside the first."""
    registry: Port = 5000
    """MLflow server."""
    feature_store: Port = 6566
    """Feast online feature server."""
    ray_gcs: Port = 6379
    """Ray control store: the address that drivers and jobs connect to."""
    ray_dashboard: Port = 8265
    """Ray pages and the job API."""
    ray_node_manager: Port = 6380
    """Ray node manager (gRPC)."""
    ray_object_manager: Port = 6381
    """Ray object manager (gRPC)."""
    ray_agent: Port = 6382
    """Ray dashboard agent (HTTP)."""
    ray_agent_grpc: Port = 6383
    """Ray dashboard agent (gRPC)."""
    ray_runtime_env: Port = 6384
    """Ray runtime environment agent."""
    ray_metrics: Port = 8085
    """Metrics of Ray and of Ray Serve."""
    ray_client: Port = 6385
    """Ray Client, which Ray always starts (gRPC)."""
    ray_dashboard_metrics: Port = 8087
    """Metrics of Ray's dashboard."""
    ray_workers_first: Annotated[int, Field(ge=1024, le=65000)] = 20000
    """First of the 400 ports that Ray's workers take (gRPC)."""
    serve_replicas_first: Annotated[int, Field(ge=1024, le=65000)] = 21000
    """First of the 200 ports that serving replicas take behind HAProxy."""
    inference: Port = 8000
    """Predictions (HAProxy)."""
    control: Port = 8090
    """Rollout controller."""
    metrics: Port = 9090
    """Prometheus."""
    serve_fallback: Port = 8500
    """Ray Serve's own proxy, where requests wait while no replica of their group is up."""
    haproxy_stats: Port = 8404
    """HAProxy statistics page."""
    haproxy_metrics: Port = 9101
    """HAProxy metrics."""

    @model_validator(mode="before")
    @classmethod
    def _shift(cls, values: object) -> object:
        """Add the offset to the ports that are not stated."""
        if not isinstance(values, dict):
            return values
        try:
            offset = int(values.get("offset", 0))
        except (TypeError, ValueError):
            return values
        shifted = {
            field.alias: field.default + offset
            for name, field in cls.model_fields.items()
            if name != "offset" and field.alias not in values
        }
        return {**shifted, **values}

    def ranges(self) -> Iterator[tuple[str, int, int]]:
        """Each setting with the first and the last port that it takes."""
        for name, field in type(self).model_fields.items():
            if name == "offset":
                continue
            first = getattr(self, name)
            yield field.alias or name, first, first + PORTS_TAKEN.get(name, 1) - 1

    @model_validator(mode="after")
    def _distinct(self) -> Ports:
        taken = sorted(self.ranges(), key=lambda entry: entry[1])
        for (name, _, last), (other, first, _) in itertools.pairwise(taken):
            if first <= last:
                raise ValueError(f"{name} and {other} both take port {first}; ports must be distinct")
        return self


PORTS_TAKEN = {"ray_workers_first": 400, "serve_replicas_first": 200}
"""How many consecutive ports a setting takes, where it is more than one."""


class Cluster(Section):
    """The Ray cluster that trains and serves."""

    logical_cpus: Annotated[int, Field(ge=4, le=4096)] = 16
    """CPUs that Ray hands out. More than there are, since serving replicas mostly wait."""
    object_store_mb: Annotated[int, Field(ge=80, le=1_000_000)] = 150
    """Shared memory for Ray objects, MiB."""


class Registry(Section):
    """The model registry and experiment tracking server (MLflow)."""

    username: Annotated[str, Field(pattern=_NAME)] = "mlops"
    """User name beside the generated password."""


class FeatureStore(Section):
    """The feature store (Feast)."""

    deadline_ms: Annotated[int, Field(ge=1, le=10_000)] = 100
    """How long a prediction waits for online features, milliseconds."""


class Replicas(Section):
    """How many processes serve a group, and when there are more of them."""

    min: Annotated[int, Field(ge=1, le=1000)] = 1
    """Fewest replicas."""
    max: Annotated[int, Field(ge=1, le=1000)] = 1
    """Most replicas."""
    target_ongoing: Annotated[int, Field(ge=1, le=1000)] = 32
    """Requests in flight per replica that autoscaling aims at."""
    upscale_delay_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """How long there must be reason for more replicas before they are started, seconds."""
    downscale_delay_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """How long there must be reason for fewer replicas before they are stopped, seconds."""

    @model_validator(mode="after")
    def _ordered(self) -> Replicas:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) must not be less than min ({self.min})")
        return self


class Capture(Section):
    """Record of predictions for drift, quality and audit."""

    enabled: bool = True
    """Whether predictions are captured."""
    rotate_seconds: Annotated[int, Field(ge=1, le=86_400)] = 60
    """A file is closed after this time, seconds."""
    rotate_rows: Annotated[int, Field(ge=100, le=10_000_000)] = 50_000
    """A file is closed after this many rows."""
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Captures are kept this long, days. EU AI Act Art. 19 asks deployers of high-risk systems for at least 183."""
    queue_rows: Annotated[int, Field(ge=100, le=10_000_000)] = 20_000
    """Rows that wait to be written; beyond it rows are dropped and counted, never requests."""


class Batching(Section):
    """Joining of requests that wait at the same moment into one model call."""

    max_rows: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Most rows in one model call."""
    wait_ms: Annotated[float, Field(ge=0, le=1000)] = 0
    """How long a request waits for company, milliseconds; 0 joins only what waits already."""


class Rollout(Section):
    """How releases are waited for."""

    wait: bool = True
    """Whether `up` waits until a release is promoted."""
    on_interrupt: Literal["leave", "abort"] = "leave"
    """What Ctrl-C during `up` does to a rollout that is waited for: `leave` it running, or `abort` it."""
    timeout_seconds: Annotated[int, Field(ge=10, le=86_400)] = 1800
    """How long `up` waits for a release, seconds; the rollout goes on, and the next `up` follows it."""


class Inference(Section):
    """Serving of predictions."""

    max_body_bytes: Annotated[int, Field(ge=1024, le=1_000_000_000)] = 4_194_304
    """Largest request body, bytes."""
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Most rows in one request."""
    request_seconds: Annotated[float, Field(gt=0, le=3600)] = 30
    """Deadline of a request, seconds."""
    replicas: Replicas = Replicas()
    """Replicas of the shared serving group."""
    capture: Capture = Capture()
    batching: Batching = Batching()
    rollout: Rollout = Rollout()


class Monitoring(Section):
    """Metrics and alert rules (Prometheus)."""

    scrape_seconds: Annotated[int, Field(ge=1, le=300)] = 15
    """Time between two scrapes, seconds."""
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 15
    """Metrics are kept this long, days."""
    username: Annotated[str, Field(pattern=_NAME)] = "mlops"
    """User name beside the generated password."""


class Step(Section):
    """One step of a gradual rollout: what the candidate gets, and what ends the step. All conditions must hold."""

    weight: Annotated[float, Field(ge=0, lt=100)] = 0
    """Share of the traffic that the candidate answers, per cent."""
    mirror: Annotated[float, Field(ge=0, le=100)] = 0
    """Share of the traffic that is copied to the candidate without waiting for its answer, per cent."""
    minutes: Annotated[float, Field(ge=0, le=43_200)] = 0
    """How long the step lasts at least, minutes."""
    requests: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """How many requests of the step the candidate has answered at least."""
    gate: bool = False
    """Whether a person must say `./mlops release resume` at the end."""


class Limits(Section):
    """How bad a candidate may be, relative to stable and in absolute terms."""

    tolerated_rate: Annotated[float, Field(ge=0, lt=1)] = 0.001
    """A candidate whose share of failed requests is not above this is never rolled back for it."""
    tolerated_ratio: Annotated[float, Field(ge=1, le=100)] = 1.0
    """Failures of the candidate per failure of stable that are still all right, at equal traffic."""
    failure_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Fixed limit of the share of failed requests; a first release has only this one."""
    latency_ratio: Annotated[float, Field(ge=1, le=100)] = 1.3
    """p99 latency of the candidate as a multiple of stable's."""
    latency_seconds: Annotated[float, Field(gt=0, le=600)] | None = None
    """Fixed limit of the p99 latency, seconds."""
    wrong_ratio: Annotated[float, Field(ge=1, le=100)] = 1.05
    """Share of wrong predictions among labelled ones, as a multiple of stable's."""
    disagreement: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Fixed limit of the share of mirrored answers that differ from stable's; without it they are not judged."""


class Evidence(Section):
    """How much must be known before a candidate moves on."""

    requests: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Requests that the candidate has answered in each step, replayed ones included."""
    history: Annotated[int, Field(ge=0)] = 500
    """Requests of stable before the rollout from which its record counts as a reference."""
    latency: Annotated[int, Field(ge=1)] = 200
    """Requests of stable from which its p99 counts as known."""
    smoke: Annotated[int, Field(ge=1, le=100_000)] = 50
    """Rows of the evaluation sample that every candidate answers before it gets traffic."""
    replay_after: Annotated[float, Field(gt=0, le=86_400)] = 60
    """A step that lacks requests is filled by replaying the evaluation sample this long after its minutes, seconds."""


class Deadlines(Section):
    """When waiting turns into giving up."""

    start: Annotated[float, Field(gt=0, le=86_400)] = 600
    """From asking for the candidate to its being ready, seconds."""
    smoke: Annotated[float, Field(gt=0, le=86_400)] = 300
    """For the smoke set, seconds."""
    swap: Annotated[float, Field(gt=0, le=86_400)] = 300
    """From the decision to promote to every replica serving the new version, seconds."""
    silence: Annotated[float, Field(gt=0, le=86_400)] = 15
    """Without metrics for this long a rollout pauses, seconds."""
    absent: Annotated[float, Field(gt=0, le=86_400)] = 600
    """A rollout paused for want of metrics or evidence is aborted after this long, seconds."""
    unhealthy: Annotated[float, Field(gt=0, le=86_400)] = 10
    """A candidate that is not ready for this long in a row has failed, seconds."""
    gate_minutes: Annotated[float, Field(ge=0, le=43_200)] | None = None
    """A gate that nobody opens aborts the rollout after this long, minutes; without it it waits for ever."""


class AfterPromotion(Section):
    """What the served version must keep up, and what happens when it does not."""

    action: Literal["rollback", "alert"] = "rollback"
    """`rollback` to the last version that was approved and baked; `alert` only tells."""
    alarm_every: Annotated[float, Field(ge=1e3, le=1e15)] = 1e8
    """Requests between two false alarms, at least, while the failure rate is what it was."""
    failure_ratio: Annotated[float, Field(ge=1, le=100)] = 2.0
    """Multiple of the failure rate before that is still all right."""
    latency_ratio: Annotated[float, Field(ge=1, le=100)] = 2.0
    """Multiple of the p99 latency before that is still all right."""
    quality_drop: Annotated[float, Field(gt=0, lt=1)] = 0.08
    """Relative loss of accuracy that counts, for example 0.08 from 0.90 to 0.828."""
    quality_days: Annotated[float, Field(gt=0, le=366)] = 7
    """Window over which accuracy is taken, days."""
    quality_labels: Annotated[int, Field(ge=10)] = 200
    """Labels in the window below which nothing is concluded."""


class Strategy(Section):
    """How a new version takes over."""

    kind: StrategyKind = "all-at-once"
    """`all-at-once`, `canary`, `blue-green`, `shadow` or `ab`."""
    steps: Annotated[tuple[Step, ...], BeforeValidator(listed)] = ()
    """Steps of a gradual strategy; without any the usual ones of its kind."""
    bake_minutes: Annotated[float, Field(ge=0, le=43_200)] | None = None
    """How long the previous version stays warm after promotion, minutes; without it 0 for `all-at-once`, else 10."""
    then: Literal["promote", "gate", "stop"] = "promote"
    """After the last step: promote, wait for a person (`gate`), or end without promotion (`stop`)."""
    on_conflict: Literal["supersede", "queue"] = "supersede"
    """What another request for the model does to a rollout that runs: replaces it, or waits for it."""
    limits: Limits = Limits()
    evidence: Evidence = Evidence()
    deadlines: Deadlines = Deadlines()
    after: AfterPromotion = AfterPromotion()

    @model_validator(mode="after")
    def _steps_fit(self) -> Strategy:
        if self.kind == "all-at-once" and self.steps:
            raise ValueError("strategy all-at-once takes no steps; name another kind or leave them out")
        weights = [step.weight for step in self.steps]
        if weights != sorted(weights):
            raise ValueError(f"the weights of the steps must not fall, they are {weights}")
        if self.kind in ("blue-green", "shadow") and any(weights):
            raise ValueError(f"the steps of {self.kind} have weight 0 (they may mirror), they are {weights}")
        if self.kind in ("canary", "ab") and not all(weights):
            raise ValueError(f"the steps of {self.kind} have a weight above 0, they are {weights}")
        return self

    @property
    def planned(self) -> tuple[Step, ...]:
        """The steps that are stated, or the usual ones of the kind."""
        return self.steps or USUAL_STEPS[self.kind]

    @property
    def bake(self) -> float:
        """Minutes that the previous version stays warm."""
        if self.bake_minutes is None:
            return 0 if self.kind == "all-at-once" else 10
        return self.bake_minutes


USUAL_STEPS: dict[StrategyKind, tuple[Step, ...]] = {
    "all-at-once": (),
    "canary": (Step(weight=5, minutes=5), Step(weight=25, minutes=5), Step(weight=50, minutes=5)),
    "blue-green": (Step(),),
    "shadow": (Step(mirror=100, minutes=30),),
    "ab": (Step(weight=50, minutes=1440),),
}
"""What each kind does where no steps are stated. Written out here so that a preview shows them."""


def _version(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Shadow(Section):
    """A version that gets copies of a model's requests; nobody sees its answers, they are compared with stable's."""

    version: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$"), BeforeValidator(_version)]
    """A registered version number with a manifest in `stacks/releases`; it needs the approvals that a release needs."""
    sample: Annotated[float, Field(gt=0, le=100)] = 100
    """Share of the requests that stable answers of which the shadow gets a copy, per cent."""


class Model(Section):
    """One model: a folder under `training/` and how this stack trains and serves it."""

    folder: Annotated[str, Field(min_length=1, max_length=200)]
    """Folder of the model, relative to the project; it holds `model.py`."""
    version: Annotated[str, Field(pattern=r"^(latest|[1-9][0-9]{0,8})$"), BeforeValidator(_version)] = "latest"
    """`latest` (the newest that passed its evaluation) or a registered version number."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 7
    """Seed of the training run."""
    group: Literal["shared", "own"] = "shared"
    """Serving group: `shared`, or `own` for scaling, hardware and isolation of its own."""
    replicas: Replicas = Replicas()
    """Replicas of the model's own serving group; with `shared` see inference.replicas."""
    schedule: str | None = None
    """When the model is trained again: five cron fields in UTC."""
    strategy: Strategy = Strategy()
    shadows: Annotated[tuple[Shadow, ...], Field(max_length=8), BeforeValidator(listed)] = ()
    """Further versions that get copies of the requests, beside the stable version and beside any rollout."""
    params: dict[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_.]{0,80}$")], Parameter] = Field(
        default_factory=dict
    )
    """Training parameters that differ from those of the folder."""

    @field_validator("folder")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or path.as_posix() != value:
            raise ValueError("must be a plain path inside the project, such as training/examples/flight_delay")
        return value

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        if value is not None:
            from croniter import croniter  # most stacks have no schedule, and a preview pays for each import

            if len(value.split()) != 5 or not croniter.is_valid(value):
                raise ValueError("must be five cron fields (minute hour day month weekday), such as 30 3 * * 1")
        return value

    @field_validator("shadows")
    @classmethod
    def _shadows_differ(cls, value: tuple[Shadow, ...]) -> tuple[Shadow, ...]:
        versions = [shadow.version for shadow in value]
        if len(set(versions)) != len(versions):
            raise ValueError(f"names a version twice: {', '.join(versions)}")
        return value

    @model_validator(mode="after")
    def _replicas_need_own(self) -> Model:
        if self.group == "shared" and self.replicas != Replicas():
            raise ValueError("replicas need `group: own`; the shared group is set by inference.replicas")
        return self


class Settings(Section):
    """All settings of one stack."""

    baseline: Annotated[str, Field(pattern=_NAME)] | None = None
    """Baseline in `stacks/baselines` that this stack extends."""
    target: Literal["local", "aws"] = "local"
    """Where the platform runs: on this machine, or in an AWS account (see `aws`)."""
    environment: PlaceName = "local"
    """Name of the environment."""
    client: PlaceName = "default"
    """Whose environment it is."""
    layers: Annotated[tuple[Layer, ...], Field(min_length=1), BeforeValidator(listed)] = ("foundation", "releases")
    """What this stack holds: the platform (`foundation`), the models (`releases`), or both."""
    foundation: Annotated[str, Field(pattern=STACK_NAME)] | None = None
    """For a stack of releases only: the stack of this project that holds the platform. Its settings are where this
    stack's begin, so that both speak of the same environment, and its outputs say where the platform is."""
    ports: Ports = Ports()
    cluster: Cluster = Cluster()
    registry: Registry = Registry()
    feature_store: FeatureStore = FeatureStore()
    inference: Inference = Inference()
    monitoring: Monitoring = Monitoring()
    gates: Gates = Gates()
    aws: Aws | None = None
    """The AWS target; required with `target: aws`, and refused with any other."""
    models: dict[Annotated[str, Field(pattern=MODEL_NAME)], Model] = Field(default_factory=dict)
    """The models of this stack by name."""

    @field_validator("layers")
    @classmethod
    def _layers_known(cls, value: tuple[Layer, ...]) -> tuple[Layer, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a layer twice")
        return value

    @model_validator(mode="after")
    def _fits_target(self) -> Settings:
        if self.target == "local" and "foundation" not in self.layers:
            raise ValueError("target local holds the foundation in the same stack: name foundation in layers as well")
        if "foundation" in self.layers and self.foundation is not None:
            raise ValueError(
                f"foundation names the stack {self.foundation}, but layers says that this stack holds a foundation "
                "itself: state `layers: [releases]`, or leave foundation out"
            )
        if "foundation" not in self.layers and self.foundation is None:
            raise ValueError(
                "a stack of releases only states `foundation`: the stack that holds the platform, such as prod"
            )
        if self.target == "local" and self.aws is not None:
            raise ValueError("aws is stated, but target is local: remove one of both")
        if self.target == "aws" and self.aws is None:
            raise ValueError("target aws needs the section aws, with at least accountId, region and governance")
        return self

    @field_validator("models")
    @classmethod
    def _names_free(cls, value: dict[str, Model]) -> dict[str, Model]:
        for name in sorted(RESERVED_MODEL_NAMES & value.keys()):
            raise ValueError(f"{name!r} is the name of the shared serving group; choose another name for the model")
        return value


def model_name_allowed(name: str) -> bool:
    """Whether a model may have this name."""
    return re.fullmatch(MODEL_NAME, name) is not None and name not in RESERVED_MODEL_NAMES
