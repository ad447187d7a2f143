"""The settings of the `aws` target: one account and region, and what an environment in it is made of.

Defaults are those of a small environment that spares money; `stacks/baselines/{dev,staging,prod}.yaml` say what
differs. What AWS itself would refuse late (GPUs of a pool without any, a network too small for its zones) is refused
here, before anything is touched.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from infra.settings.section import Section, listed
from policies.costs.usage import Usage

REGION = r"^(af|ap|ca|eu|il|me|mx|sa|us)(-gov)?-[a-z]+-[1-9]$"
DIGEST = r"^sha256:[0-9a-f]{64}$"
_ROLE = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$"
_INSTANCE = r"^[a-z][a-z0-9-]*\.(?:[0-9]*x?large|medium|small|micro|nano|metal(?:-[0-9]+xl)?)$"
_MAIL = r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$"
_HOST = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$"
_FAMILY = r"^[a-z][a-z0-9]*(-flex)?$"
_LABEL = r"^[a-z][a-z0-9-]{0,30}$"
LARGEST_NETWORK, SMALLEST_NETWORK = 16, 20
"""Prefix lengths: a VPC has /16 at most, and below /20 the subnets of the nodes hold fewer than 1,000 addresses."""

_USAGE = Usage()

Quantity = Annotated[float, Field(ge=0, le=1_000_000_000)]
InstanceType = Annotated[str, Field(pattern=_INSTANCE)]
Mail = Annotated[str, Field(pattern=_MAIL)]
Days = Annotated[int, Field(ge=1, le=3653)]
# What CloudWatch Logs accepts.
LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)

_private_ranges = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))


def _log_days(value: int) -> int:
    if value not in LOG_DAYS:
        raise ValueError(f"CloudWatch keeps logs for one of {', '.join(map(str, LOG_DAYS))} days")
    return value


class Network(Section):
    """The network (VPC) over several availability zones."""

    cidr: str = "10.20.0.0/16"
    """Private IPv4 block, /16 to /20; no two stacks of the project may overlap."""
    zones: Annotated[int, Field(ge=2, le=3)] = 3
    """Availability zones."""
    nat: Literal["none", "one", "per-zone"] = "one"
    """Ways out to the internet: `one` gateway, one `per-zone`, or `none` (air-gapped: AWS by endpoints only)."""
    interface_endpoints: bool = False
    """Whether calls of AWS stay inside the network (billed by endpoint and zone); always so with `nat: none`."""
    flow_log_days: int = 30
    """Flow logs are kept this long, days."""

    _days = field_validator("flow_log_days")(_log_days)

    @field_validator("cidr")
    @classmethod
    def _block(cls, value: str) -> str:
        try:
            block = ipaddress.IPv4Network(value)
        except ValueError as error:
            raise ValueError(f"must be an IPv4 block such as 10.20.0.0/16: {error}") from None
        if not LARGEST_NETWORK <= block.prefixlen <= SMALLEST_NETWORK:
            raise ValueError(
                f"must be /{LARGEST_NETWORK} to /{SMALLEST_NETWORK}, so that each zone has room for its pods; "
                f"this is /{block.prefixlen} with {block.num_addresses} addresses"
            )
        if not any(block.subnet_of(allowed) for allowed in _private_ranges):
            raise ValueError(f"must lie in a private range: {', '.join(map(str, _private_ranges))}")
        return value


class Pool(Section):
    """A pool of nodes that Karpenter fills and empties."""

    instance_types: Annotated[tuple[InstanceType, ...], Field(min_length=1), BeforeValidator(listed)]
    """What it may start, such as m7i.xlarge."""
    capacity: Literal["on-demand", "spot"] = "on-demand"
    """How it buys: Spot nodes cost less and may be taken away with two minutes' notice."""
    cpus: Annotated[int, Field(ge=1, le=10_000)]
    """Limit of the pool, vCPUs."""
    memory_gib: Annotated[int, Field(ge=1, le=100_000)]
    """Limit of the pool, GiB."""
    gpus: Annotated[int, Field(ge=0, le=1000)] = 0
    """Limit of the pool, GPUs; above 0 it is a GPU pool, which only pods that ask for a GPU get onto."""
    gpu_name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    """GPU model that its instance types have, as Karpenter names it, such as l4 or a10g."""
    idle_seconds: Annotated[int, Field(ge=0, le=86_400)] = 120
    """A node that is empty or badly used is given back after this long, seconds."""

    @model_validator(mode="after")
    def _gpus_named(self) -> Pool:
        if (self.gpus > 0) != (self.gpu_name is not None):
            raise ValueError("gpus and gpuName go together: a GPU pool states both, another pool none of them")
        return self


class SystemNodes(Section):
    """The managed node group for what the cluster itself needs; Karpenter runs on it."""

    instance_types: Annotated[tuple[InstanceType, ...], Field(min_length=1), BeforeValidator(listed)] = ("m7i.large",)
    """What it may start."""
    min: Annotated[int, Field(ge=1, le=50)] = 2
    """Fewest nodes."""
    max: Annotated[int, Field(ge=1, le=50)] = 4
    """Most nodes."""

    @model_validator(mode="after")
    def _ordered(self) -> SystemNodes:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) must not be less than min ({self.min})")
        return self


class Kubernetes(Section):
    """The Kubernetes cluster (EKS)."""

    version: Annotated[str, Field(pattern=r"^1\.(3[3-9]|4[0-9])$")] = "1.35"
    """Kubernetes version; one minor version at a time, never back."""
    public_cidrs: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    """From where the API server may be reached over the internet; without any its endpoint is private."""
    admin_roles: Annotated[tuple[Annotated[str, Field(pattern=_ROLE)], ...], BeforeValidator(listed)] = ()
    """IAM roles (ARNs) of people or pipelines that administer the cluster, besides who created it."""
    log_days: int = 90
    """Control-plane logs are kept this long, days."""
    system: SystemNodes = SystemNodes()
    pools: dict[Annotated[str, Field(pattern=_LABEL)], Pool] = Field(default_factory=dict)
    """Karpenter's pools by name. Serving, training and platform workloads are checked to fit one of them."""
    release_roles: Annotated[tuple[Annotated[str, Field(pattern=_ROLE)], ...], BeforeValidator(listed)] = ()
    """IAM roles (ARNs) that may talk to the rollout controller through the cluster's API server, and do nothing else
    there: those of pipelines that run a stack of releases, such as `<client>-<environment>-ci-releases`, which
    `./mlops bootstrap` makes."""
    runner: Annotated[str, Field(pattern=r"^https://\S+$")] | None = None
    """Repository or organisation that a CI runner inside the network registers at, from where a private API server is
    reachable; none unless stated. Its token is the secret `<client>/<environment>/runner-token`."""

    _days = field_validator("log_days")(_log_days)

    @field_validator("public_cidrs")
    @classmethod
    def _blocks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for block in value:
            try:
                ipaddress.IPv4Network(block)
            except ValueError as error:
                raise ValueError(f"{block!r} is not an IPv4 block: {error}") from None
        return value


class Database(Section):
    """A PostgreSQL database (RDS)."""

    instance_class: Annotated[str, Field(pattern=r"^db\.[a-z0-9]+\.[0-9]*x?(large|medium|small|micro)$")] = (
        "db.t4g.medium"
    )
    """Size."""
    version: Annotated[str, Field(pattern=r"^1[5-9](\.[0-9]{1,2})?$")] = "17"
    """PostgreSQL version; a minor one follows by itself."""
    storage_gib: Annotated[int, Field(ge=20, le=16_384)] = 20
    """Storage at first, GiB."""
    max_storage_gib: Annotated[int, Field(ge=22, le=65_536)] = 100
    """It grows up to this, GiB."""
    multi_zone: bool = False
    """Whether a second zone holds a standby."""
    backup_days: Annotated[int, Field(ge=1, le=35)] = 7
    """Backups allow a return to any second of this many days."""
    restore_from: (
        Annotated[str, Field(pattern=r"^[A-Za-z](-?[A-Za-z0-9])*$|^rds:[A-Za-z0-9-]+$", max_length=255)] | None
    ) = None
    """Snapshot that the database is made from when there is none, after a loss; one that is there stays as it is."""

    @model_validator(mode="after")
    def _grows(self) -> Database:
        if self.max_storage_gib * 10 < self.storage_gib * 11:
            raise ValueError(
                f"maxStorageGib ({self.max_storage_gib}) must be at least 10 % above storageGib ({self.storage_gib})"
            )
        return self


class AwsRegistry(Section):
    """The model registry on AWS: MLflow on the cluster, PostgreSQL, S3, and repositories of images."""

    replicas: Annotated[int, Field(ge=1, le=10)] = 1
    """MLflow servers."""
    database: Database = Database()
    old_artifact_days: Days = 90
    """Overwritten or deleted artifacts can be brought back this long, days."""
    images_kept: Annotated[int, Field(ge=5, le=1000)] = 50
    """Images that are kept in each repository, the newest."""


class AwsFeatureStore(Section):
    """The feature store on AWS."""

    kind: Literal["feast", "sagemaker"] = "feast"
    """Feast on S3 and DynamoDB, or SageMaker Feature Store groups; models see the same contract."""
    replicas: Annotated[int, Field(ge=1, le=50)] = 1
    """Online feature servers."""


class Size(Section):
    """What one pod asks for, and is held to."""

    cpus: Annotated[float, Field(gt=0, le=192)]
    """CPUs."""
    memory_gib: Annotated[float, Field(gt=0, le=2048)]
    """Memory, GiB."""
    gpus: Annotated[int, Field(ge=0, le=8)] = 0
    """GPUs."""


class Workers(Size):
    """Worker nodes of the serving cluster."""

    pool: Annotated[str, Field(pattern=_LABEL)]
    """Pool that they run in."""
    min: Annotated[int, Field(ge=0, le=500)] = 1
    """Fewest workers."""
    max: Annotated[int, Field(ge=1, le=500)] = 4
    """Most workers."""

    @model_validator(mode="after")
    def _ordered(self) -> Workers:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) must not be less than min ({self.min})")
        return self


class Jwt(Section):
    """Who may ask for predictions: tokens of one issuer."""

    issuer: Annotated[str, Field(pattern=r"^https://\S+$")]
    """Issuer of the tokens, as their claim `iss` says."""
    keys: Annotated[str, Field(pattern=r"^https://\S+$")]
    """Where its public keys (JWKS) are."""
    audience: Annotated[str, Field(min_length=1, max_length=200)]
    """What the claim `aud` must hold."""
    models_claim: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_:./-]{0,80}$")] = "models"
    """Claim that lists the models a caller may ask."""


class AwsInference(Section):
    """Serving on AWS: a RayService behind a Gateway."""

    host: Annotated[str, Field(pattern=_HOST)]
    """Host name of predictions."""
    certificate_secret: Annotated[str, Field(pattern=r"^[A-Za-z0-9_/+=.@-]{1,200}$")]
    """Secret in Secrets Manager that holds the host's TLS certificate and key (`tls.crt`, `tls.key`). Only the one of
    the name `<client>/<environment>/predict-tls` is readable for the environment's roles."""
    jwt: Jwt
    internet: bool = False
    """Whether predictions can be asked for from the internet; otherwise from the network and what is joined to it."""
    approval: Literal["rule", "signatures"] = "signatures"
    """Whether a version that passed its evaluation may start (`rule`), or people must have signed for it."""
    allowed_signers: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,200}$")] | None = None
    """File of the project with the keys that sign artifacts and approvals, in git's allowed-signers format; without it
    nobody is trusted and no model is loaded."""
    trust_root: Annotated[str, Field(pattern=_LABEL)] | None = None
    """Name by which approvals and signatures call those keys; the environment's unless stated. `rehearsal` is the one
    of the shipped examples: it counts in previews and rehearsals, and `up` anywhere else refuses it."""
    requests_per_second: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """Rate limit of one caller."""
    head: Size = Size(cpus=2, memoryGib=8)
    workers: dict[Annotated[str, Field(pattern=_LABEL)], Workers] = Field(default_factory=dict)
    """Groups of workers by name."""
    control: Size = Size(cpus=0.5, memoryGib=1)
    upgrade_step: Annotated[int, Field(ge=1, le=100)] = 10
    """An upgrade of the cluster moves this share of the traffic at a time, per cent."""
    upgrade_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """Seconds between two such steps."""


class AwsPipelines(Section):
    """Training on AWS."""

    runner: Literal["ray", "sagemaker"] = "ray"
    """Ray jobs on the cluster, or SageMaker Pipelines."""
    instance_type: Annotated[str, Field(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")] = "ml.m7i.large"
    """Size of a SageMaker training step."""
    size: Size = Size(cpus=2, memoryGib=8)
    """What a Ray job may have; Ray itself takes about 1 GiB of it."""
    pool: Annotated[str, Field(pattern=_LABEL)] | None = None
    """Pool of the Ray jobs; required with `runner: ray`."""
    max_hours: Annotated[float, Field(gt=0, le=120)] = 4
    """A step of SageMaker, or an attempt of a Ray job, is stopped after this long, hours."""


class AwsMonitoring(Section):
    """Monitoring on AWS."""

    alarm_mails: Annotated[tuple[Mail, ...], Field(min_length=1), BeforeValidator(listed)]
    """Who gets the alarms."""
    container_insights: bool = False
    """Whether CloudWatch Container Insights is on (it is billed by metric)."""
    log_days: int = 30
    """Logs of workloads are kept this long, days."""
    storage_gib: Annotated[int, Field(ge=10, le=16_384)] = 50
    """Disk of Prometheus, GiB."""

    _days = field_validator("log_days")(_log_days)


class AwsGovernance(Section):
    """Who answers for the environment, what it may cost, and how long its records are kept."""

    owner: Annotated[str, Field(pattern=r"^[A-Za-z0-9_ .+=/@-]{1,100}$")]
    """Team that answers for it."""
    cost_center: Annotated[str, Field(pattern=r"^[A-Za-z0-9_ .+=/@-]{1,60}$")]
    """Where its cost is booked."""
    data_class: Literal["public", "internal", "confidential", "restricted"]
    """How sensitive its data is."""
    budget_usd: Annotated[int, Field(ge=1, le=100_000_000)]
    """Budget of a month, US dollars."""
    worst_case_usd: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Most that a month may cost with every limit used up (pools full, disks grown), US dollars; `budgetUsd` where
    nothing is stated."""
    instance_families: Annotated[
        tuple[Annotated[str, Field(pattern=_FAMILY)], ...], Field(min_length=1), BeforeValidator(listed)
    ] = ("c6i", "c7i", "g5", "g6", "m5", "m6g", "m6i", "m7g", "m7i", "r6g", "r6i", "r7i", "t3", "t4g")
    """Families of instances that may run, of databases and SageMaker too."""
    gpus: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Most GPUs that all pools together may have."""
    max_replicas: Annotated[int, Field(ge=1, le=5000)] = 50
    """Most that anything that scales by itself may scale to."""
    budget_mails: Annotated[tuple[Mail, ...], Field(min_length=1, max_length=10), BeforeValidator(listed)]
    """Who hears at 50, 80 and 100 % of it."""
    budget_stops: bool = False
    """Whether at 100 % the roles of training lose the right to start anything, and the trainer its key."""
    audit_days: Annotated[int, Field(ge=1, le=36_500)] = 365
    """Audit records can't be changed or deleted for this long, days. EU AI Act Art. 19 asks for at least 183."""
    audit_mode: Literal["governance", "compliance"] = "governance"
    """`compliance` binds even the account's root user; `governance` lets a named role override."""

    @model_validator(mode="after")
    def _worst_not_below(self) -> AwsGovernance:
        if self.worst_case_usd is not None and self.worst_case_usd < self.budget_usd:
            raise ValueError(
                f"worstCaseUsd ({self.worst_case_usd}) must be at least budgetUsd ({self.budget_usd}): a month that "
                "costs as much as the budget allows is no worse than expected"
            )
        return self


class AwsUsage(Section):
    """What goes through the environment in a month, for the estimate of its cost; see docs/costs.md."""

    worst_times: Quantity = _USAGE.worst_times
    """The worst month has this many times of all that has no limit of its own."""
    nat_gb: Quantity = _USAGE.nat_gb
    """Through each NAT gateway, GB."""
    endpoint_gb: Quantity = _USAGE.endpoint_gb
    """Through each interface endpoint, GB."""
    internet_gb: Quantity = _USAGE.internet_gb
    """Out to the internet, GB."""
    between_zones_gb: Quantity = _USAGE.between_zones_gb
    """Between zones, GB, both directions counted."""
    log_gb: Quantity = _USAGE.log_gb
    """Written to each log group, GB."""
    object_gb: Quantity = _USAGE.object_gb
    """In each bucket, GB."""
    capture_gb: Quantity = _USAGE.capture_gb
    """Into each bucket whose objects expire (captures), GB a day."""
    object_writes: Quantity = _USAGE.object_writes
    """Writes to each bucket, thousands."""
    object_reads: Quantity = _USAGE.object_reads
    """Reads from each bucket, thousands."""
    image_gb: Quantity = _USAGE.image_gb
    """In each repository of images, GB."""
    feature_gb: Quantity = _USAGE.feature_gb
    """In each table of online features, GB."""
    feature_writes: Quantity = _USAGE.feature_writes
    """Write units of each table of online features, millions."""
    feature_reads: Quantity = _USAGE.feature_reads
    """Read units of each table of online features, millions."""
    queue_requests: Quantity = _USAGE.queue_requests
    """Requests to each queue, millions."""
    balancer_units: Quantity = _USAGE.balancer_units
    """Capacity units of each load balancer, on average."""
    insight_metrics: Quantity = _USAGE.insight_metrics
    """Metrics of Container Insights, where it is on."""
    query_metrics: Quantity = _USAGE.query_metrics
    """Metrics that an alarm over a query looks at."""
    training_runs: Quantity = _USAGE.training_runs
    """Runs of training."""
    training_hours: Quantity = _USAGE.training_hours
    """Hours of one run of training."""


class Images(Section):
    """Images of the environment's own repositories, by digest."""

    serving: Annotated[str, Field(pattern=DIGEST)]
    """Digest of the serving image."""
    training: Annotated[str, Field(pattern=DIGEST)]
    """Digest of the training image."""
    sagemaker: Annotated[str, Field(pattern=DIGEST)] | None = None
    """Digest of the training image as SageMaker runs it, built with `--target sagemaker` and kept in the same
    repository; required with `pipelines.runner: sagemaker`."""
    runner: Annotated[str, Field(pattern=DIGEST)] | None = None
    """Digest of the CI runner's image; required with `kubernetes.runner`."""


class Aws(Section):
    """One environment in an AWS account."""

    account_id: Annotated[str, Field(pattern=r"^[0-9]{12}$")]
    """The account; credentials of any other are refused before anything is touched. Write it in quotes."""
    region: Annotated[str, Field(pattern=REGION)]
    """Region."""
    protected: bool = False
    """Whether what holds state (buckets, keys, tables, databases) can't be deleted by `up` or `destroy`."""
    workloads: bool = True
    """`false` on the very first `up`, which makes the repositories that images are pushed to; then `true`."""
    images: Images | None = None
    """Required while `workloads` is true."""
    network: Network = Network()
    kubernetes: Kubernetes = Kubernetes()
    registry: AwsRegistry = AwsRegistry()
    feature_store: AwsFeatureStore = AwsFeatureStore()
    inference: AwsInference
    pipelines: AwsPipelines = AwsPipelines()
    monitoring: AwsMonitoring
    governance: AwsGovernance
    usage: AwsUsage = AwsUsage()

    @model_validator(mode="after")
    def _images_stated(self) -> Aws:
        if self.workloads and self.images is None:
            raise ValueError(
                "images states no digests, but workloads is true: push the images and state images.serving and "
                "images.training, or set workloads: false until they are built"
            )
        if self.workloads and self.images and self.kubernetes.runner and not self.images.runner:
            raise ValueError(
                "kubernetes.runner is stated, but images.runner is not: copy the runner's image into the environment's "
                "repository `runner` and state its digest"
            )
        if self.workloads and self.images and self.pipelines.runner == "sagemaker" and not self.images.sagemaker:
            raise ValueError(
                "pipelines.runner is sagemaker, but images.sagemaker is not stated: build the training image with "
                "--target sagemaker, push it into the repository `training` and state its digest"
            )
        return self

    @model_validator(mode="after")
    def _pools_known(self) -> Aws:
        pools = self.kubernetes.pools
        asked: dict[str, tuple[str, Size]] = {
            f"inference.workers.{name}": (workers.pool, workers) for name, workers in self.inference.workers.items()
        }
        if self.pipelines.runner == "ray":
            if self.pipelines.pool is None:
                raise ValueError("pipelines.pool is missing: with `runner: ray` name the pool that training runs in")
            asked["pipelines"] = (self.pipelines.pool, self.pipelines.size)
        for key, (pool, size) in asked.items():
            if pool not in pools:
                known = ", ".join(sorted(pools)) or "none"
                raise ValueError(f"{key}.pool names {pool!r}; kubernetes.pools has: {known}")
            if size.gpus and not pools[pool].gpus:
                raise ValueError(f"{key} asks for {size.gpus} GPU, but the pool {pool!r} has none (gpus: 0)")
        return self


def overlapping(blocks: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of names whose IPv4 blocks overlap, in order of the names."""
    names = sorted(blocks)
    networks = {name: ipaddress.IPv4Network(blocks[name]) for name in names}
    return [
        (one, other)
        for index, one in enumerate(names)
        for other in names[index + 1 :]
        if networks[one].overlaps(networks[other])
    ]


def partition(region: str) -> str:
    """The AWS partition of a region, the second part of every ARN."""
    return "aws-us-gov" if re.match(r"^us-gov-", region) else "aws"
