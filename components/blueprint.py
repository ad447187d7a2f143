"""The resources of the `blueprint` provider (`infra/provider`) as Pulumi classes with typed arguments.

Components declare supervised processes, one-off jobs, random tokens and model releases with these. Field names are
Python's here and camelCase on the wire; `wire()` of each arguments class is the one place that translates. What must
stay secret (secret environment, file contents, tokens) is wrapped as a Pulumi secret here, and again by the provider.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pulumi
from pulumi import Input, Output

Wire = dict[str, Any]


def _present(**values: object) -> Wire:
    """Drop arguments that were not given, so that the provider's defaults apply."""
    return {name: value for name, value in values.items() if value is not None}


def _secrets(values: Mapping[str, Input[str]]) -> dict[str, Output[str]]:
    return {name: Output.secret(value) for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class Health:
    """When a process counts as healthy: an HTTP address answers 2xx or 3xx, or a TCP port accepts. Name one of them.

    `timeout_seconds` bounds the wait from start to healthy. Header values are kept secret.
    """

    http: Input[str] | None = None
    tcp: Input[int] | None = None
    headers: Mapping[str, Input[str]] = field(default_factory=dict)
    timeout_seconds: int = 60

    def wire(self) -> Wire:
        """Return the value as the provider expects it."""
        headers = _secrets(self.headers) or None
        return _present(http=self.http, tcp=self.tcp, headers=headers, timeoutSeconds=self.timeout_seconds)


@dataclass(frozen=True, kw_only=True)
class Restart:
    """What the supervisor does when the process ends by itself.

    With `always` it is started again, with growing pauses. `max_retries` bounds starts in a row that end within a
    second.
    """

    always: bool = True
    max_retries: int | None = None

    def wire(self) -> Wire:
        """Return the value as the provider expects it."""
        return _present(always=self.always, maxRetries=self.max_retries)


@dataclass(frozen=True, kw_only=True)
class ProcessArgs:
    """Inputs of `Process`.

    Attributes:
        name: Name of the process in the environment: of its log, its files and its entry in the supervisor.
        home: The environment's folder (absolute).
        command: Program and arguments; no shell in between. Never put a secret here: command lines are public.
        directory: Working folder (absolute).
        environment: Variables for the process. It inherits only PATH, HOME, USER, LANG, TZ and TMPDIR besides.
        secret_environment: The same for values that must not be shown.
        files: Configuration files by name, written with mode 0600 before the start to `components.paths.process_file`.
        ports: TCP ports that the process will listen on, by purpose. One that is taken stops the start with an error
            that names its owner.
        health: How to see that it is up; without it a process that lives for a second is up.
        restart: What happens when it ends by itself.
        stop_timeout_seconds: Pause between SIGTERM and SIGKILL.
        triggers: Anything whose change must restart the process, for example the digest of the code it runs.
    """

    name: str
    home: str
    command: Sequence[Input[str]]
    directory: Input[str]
    environment: Mapping[str, Input[str]] = field(default_factory=dict)
    secret_environment: Mapping[str, Input[str]] = field(default_factory=dict)
    files: Mapping[str, Input[str]] = field(default_factory=dict)
    ports: Mapping[str, Input[int]] = field(default_factory=dict)
    health: Health | None = None
    restart: Restart = field(default_factory=Restart)
    stop_timeout_seconds: int = 10
    triggers: Mapping[str, Input[str]] = field(default_factory=dict)

    def wire(self) -> Wire:
        """Return the inputs as the provider expects them."""
        return _present(
            name=self.name,
            home=self.home,
            command=list(self.command),
            directory=self.directory,
            environment=dict(self.environment),
            secretEnvironment=_secrets(self.secret_environment),
            files=_secrets(self.files),
            ports=dict(self.ports),
            health=self.health.wire() if self.health else None,
            restart=self.restart.wire(),
            stopTimeoutSeconds=self.stop_timeout_seconds,
            triggers=dict(self.triggers),
        )


class Process(pulumi.CustomResource):
    """A supervised process.

    Creating one waits until it is healthy, updating restarts it, deleting stops it with all its children.
    """

    status: Output[str]
    """`running`, `starting`, `stopped` or `changed`, as last seen."""
    pid: Output[int]
    """Process id when last seen; the supervisor may have restarted it since."""

    def __init__(self, resource_name: str, args: ProcessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        outputs: Wire = {"status": None, "pid": None}
        super().__init__("blueprint:index:Process", resource_name, args.wire() | outputs, opts)


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Where a `Job` runs: as a child of the provider, or submitted to a Ray cluster by its dashboard's address."""

    kind: Literal["process", "ray"] = "process"
    url: Input[str] | None = None
    token: Input[str] | None = None

    def wire(self) -> Wire:
        """Return the value as the provider expects it."""
        token = Output.secret(self.token) if self.token is not None else None
        return _present(kind=self.kind, url=self.url, token=token)


@dataclass(frozen=True, kw_only=True)
class JobArgs:
    """Inputs of `Job`.

    Attributes:
        name: Name of the job in the environment.
        home: The environment's folder (absolute).
        key: What the result depends on (digests of data and code, seed, parameters). The same key, name and command
            adopt the existing result instead of running again; everything else here may change without a new run.
        command: Program and arguments; no shell. It must write its result, a JSON object, to `$MLOPS_JOB_RESULT`
            atomically.
        directory: Working folder (absolute).
        environment: Variables for the job.
        secret_environment: The same for values that must not be shown.
        runner: Where it runs.
        timeout_seconds: After this the job is stopped and the resource fails.
    """

    name: str
    home: str
    key: Mapping[str, Input[str]]
    command: Sequence[Input[str]]
    directory: Input[str]
    environment: Mapping[str, Input[str]] = field(default_factory=dict)
    secret_environment: Mapping[str, Input[str]] = field(default_factory=dict)
    runner: Runner = field(default_factory=Runner)
    timeout_seconds: int = 1800

    def wire(self) -> Wire:
        """Return the inputs as the provider expects them."""
        return _present(
            name=self.name,
            home=self.home,
            key=dict(self.key),
            command=list(self.command),
            directory=self.directory,
            environment=dict(self.environment),
            secretEnvironment=_secrets(self.secret_environment),
            runner=self.runner.wire(),
            timeoutSeconds=self.timeout_seconds,
        )


class Job(pulumi.CustomResource):
    """A one-off run with a recorded result. Deleting the resource leaves the result where it is."""

    result: Output[dict[str, Any]]
    """The JSON object that the job wrote."""
    adopted: Output[bool]
    """Whether the result was there already, so that nothing ran."""
    status: Output[str]
    """`done`, or `missing` when the recorded result has gone from disk; the next `up` then runs the job again."""

    def __init__(self, resource_name: str, args: JobArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        outputs: Wire = {"result": None, "adopted": None, "status": None}
        super().__init__("blueprint:index:Job", resource_name, args.wire() | outputs, opts)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a gradual strategy: what the candidate gets, and what ends the step. All conditions must hold.

    Attributes:
        weight: share of the traffic that the candidate answers, per cent.
        mirror: share of the traffic that is copied to it without waiting for its answer, per cent.
        minutes: the step lasts at least this long.
        requests: the candidate has answered at least this many requests of the step.
        gate: at the end a person must say `resume`.
    """

    weight: float = 0
    mirror: float = 0
    minutes: float = 0
    requests: int = 0
    gate: bool = False

    def wire(self) -> Wire:
        """Return the value as the provider expects it."""
        return {name: value for name, value in vars(self).items() if value}


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How a new version takes over the traffic.

    Attributes:
        kind: what is done to traffic.
        steps: of a gradual kind; none takes the usual ones.
        bake_minutes: how long the previous version stays warm after the swap.
        then: after the last step: promote, wait for a person, or end without promotion.
        on_conflict: what another request for the model does to a rollout that runs.
        limits: how bad the candidate may be; with `evidence`, `deadlines` and `after` in the rollout's own names.
        evidence: how much must be known before it moves on.
        deadlines: when waiting turns into giving up.
        after: what the served version must keep up.
    """

    kind: Literal["all-at-once", "canary", "blue-green", "shadow", "ab"] = "all-at-once"
    steps: Sequence[Step] = ()
    bake_minutes: float | None = None
    then: Literal["promote", "gate", "stop"] | None = None
    on_conflict: Literal["supersede", "queue"] | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    evidence: Mapping[str, float] = field(default_factory=dict)
    deadlines: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float | str] = field(default_factory=dict)

    def wire(self) -> Wire:
        """Return the value as the provider expects it."""
        return _present(
            kind=self.kind,
            steps=[step.wire() for step in self.steps] or None,
            bakeMinutes=self.bake_minutes,
            then=self.then,
            onConflict=self.on_conflict,
            limits=dict(self.limits) or None,
            evidence=dict(self.evidence) or None,
            deadlines=dict(self.deadlines) or None,
            after=dict(self.after) or None,
        )


@dataclass(frozen=True, kw_only=True)
class ServiceProxy:
    """A cluster on EKS whose API server passes requests on: its name, its region, and its certificate authority.

    The authority is in PEM form and base64, as EKS states it.
    """

    cluster: Input[str]
    region: Input[str]
    authority: Input[str]

    def wire(self) -> Wire:
        """Return the value as the provider expects it."""
        return {"cluster": self.cluster, "region": self.region, "authority": self.authority}


@dataclass(frozen=True, kw_only=True)
class Controller:
    """The rollout controller: its address and its admin token, and the API server that the address goes through."""

    url: Input[str]
    token: Input[str]
    proxy: ServiceProxy | None = None

    def wire(self) -> Wire:
        """Return the value as the provider expects it."""
        proxy = self.proxy.wire() if self.proxy else None
        return _present(url=self.url, token=Output.secret(self.token), proxy=proxy)


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whose approvals count in an environment: what the policies judge the manifest of a release by in a preview.

    The controller has its own, out of the foundation, and decides by that.

    Attributes:
        environment: name of the environment, for which approvals must be.
        approval: whether a passed evaluation suffices (`rule`), or people must have approved (`signatures`).
        root: name of the trust root.
        signers: its allowed signers, the text of the file; empty where nobody is trusted.
    """

    environment: str
    approval: Literal["rule", "signatures"]
    root: str
    signers: str

    def wire(self) -> Wire:
        """Return the value as the provider expects it."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """A version that gets copies of `sample` per cent of the requests that stable answers; it has a manifest."""

    version: str
    sample: float = 100
    manifest: Mapping[str, Any] | None = None

    def wire(self) -> Wire:
        """Return the shadow as the provider expects it."""
        return _present(version=self.version, sample=self.sample, manifest=self.manifest)


@dataclass(frozen=True, kw_only=True)
class ModelReleaseArgs:
    """Inputs of `ModelRelease`.

    Attributes:
        model: Name of the model.
        version: A version number as text, or `latest`: the version that `candidate` carries.
        group: Serving group that holds the model.
        controller: Where releases are asked for.
        candidate: Result of the model's training `Job`, for `latest`.
        manifest: The release manifest, for a pinned version.
        previous: The manifest of the newest version before it that has one: what a rollback can return to.
        trust: Whose approvals count, for the policies.
        strategy: How the version takes over.
        shadows: Further versions that get copies of the model's requests.
        wait: Whether `up` waits for the end of the rollout.
        on_interrupt: What Ctrl-C does to the rollout that is waited for.
        timeout_seconds: Bound of that wait.
    """

    model: str
    version: Input[str]
    group: Input[str]
    controller: Controller
    candidate: Input[Mapping[str, Any]] | None = None
    manifest: Input[Mapping[str, Any]] | None = None
    previous: Input[Mapping[str, Any]] | None = None
    trust: Trust | None = None
    strategy: Strategy = field(default_factory=Strategy)
    shadows: Sequence[Shadow] = ()
    wait: bool = True
    on_interrupt: Literal["leave", "abort"] = "leave"
    timeout_seconds: int = 1800

    def wire(self) -> Wire:
        """Return the inputs as the provider expects them."""
        return _present(
            model=self.model,
            version=self.version,
            group=self.group,
            controller=self.controller.wire(),
            candidate=self.candidate,
            manifest=self.manifest,
            previous=self.previous,
            trust=self.trust.wire() if self.trust else None,
            strategy=self.strategy.wire(),
            shadows=[shadow.wire() for shadow in self.shadows] or None,
            wait=self.wait,
            onInterrupt=self.on_interrupt,
            timeoutSeconds=self.timeout_seconds,
        )


class ModelRelease(pulumi.CustomResource):
    """The version of a model that an environment serves.

    Changing it is a rollout, and a failed rollout fails the update.
    """

    served: Output[dict[str, Any] | None]
    """Version and digest that are really served, as last seen."""
    rollout: Output[dict[str, Any]]
    """Id, state and reason of the last rollout; state `missing`: the controller does not know the model."""
    quarantined: Output[dict[str, str]]
    """Digests that are not rolled out again without a new approval, with the reason of each."""
    resolved: Output[dict[str, Any]]
    """Version and digest that the inputs asked for, with `latest` resolved."""

    def __init__(self, resource_name: str, args: ModelReleaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        outputs: Wire = {"served": None, "rollout": None, "quarantined": None, "resolved": None}
        super().__init__("blueprint:index:ModelRelease", resource_name, args.wire() | outputs, opts)


@dataclass(frozen=True, kw_only=True)
class TokenArgs:
    """Inputs of `Token`: how many random bytes (16 to 128), and values whose change makes a new token."""

    bytes: int = 32
    keepers: Mapping[str, Input[str]] = field(default_factory=dict)

    def wire(self) -> Wire:
        """Return the inputs as the provider expects them."""
        return {"bytes": self.bytes, "keepers": dict(self.keepers)}


class Token(pulumi.CustomResource):
    """A random secret, made once and kept in the state, encrypted."""

    value: Output[str]
    """The token: URL-safe text, always a secret."""

    def __init__(
        self, resource_name: str, args: TokenArgs | None = None, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        secret_value = pulumi.ResourceOptions(additional_secret_outputs=["value"])
        super().__init__(
            "blueprint:index:Token",
            resource_name,
            (args or TokenArgs()).wire() | {"value": None},
            pulumi.ResourceOptions.merge(secret_value, opts),
        )
