"""Encryption in transit: what is asked without TLS is refused by the thing itself, not left to its callers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from policies.documents import denies_plain_transport
from policies.plan import MISSING, Plan, Resource
from policies.rule import EVERYWHERE_ON_AWS, Answer, Problem, World, resource_rule
from policies.rules.security.buckets import BUCKETS
from policies.rules.security.buckets import POLICIES as BUCKET_POLICIES

_GUARDED: Mapping[str, tuple[tuple[str, ...], str]] = {
    # type: types of the policies on it, and the input of those that names it
    **dict.fromkeys(BUCKETS, (BUCKET_POLICIES, "bucket")),
    "aws:sns/topic:Topic": (("aws:sns/topicPolicy:TopicPolicy",), "arn"),
    "aws:sqs/queue:Queue": (("aws:sqs/queuePolicy:QueuePolicy",), "queueUrl"),
    "aws:efs/fileSystem:FileSystem": (("aws:efs/fileSystemPolicy:FileSystemPolicy",), "fileSystemId"),
}
_FORCES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "postgres": ("rds.force_ssl", ("1",)),
    "aurora-postgresql": ("rds.force_ssl", ("1",)),
    "sqlserver": ("rds.force_ssl", ("1",)),
    "mysql": ("require_secure_transport", ("1", "ON")),
    "aurora-mysql": ("require_secure_transport", ("1", "ON")),
    "mariadb": ("require_secure_transport", ("1", "ON")),
}
_DATABASES: Mapping[str, tuple[str, str]] = {
    # type: the input that names its parameters, and what those are
    "aws:rds/instance:Instance": ("parameterGroupName", "aws:rds/parameterGroup:ParameterGroup"),
    "aws:rds/cluster:Cluster": ("dbClusterParameterGroupName", "aws:rds/clusterParameterGroup:ClusterParameterGroup"),
}
_SWITCHES: Mapping[str, tuple[tuple[tuple[str, ...], object], ...]] = {
    "aws:opensearch/domain:Domain": (
        (("domainEndpointOptions", "enforceHttps"), True), (("nodeToNodeEncryption", "enabled"), True),
    ),
    "aws:elasticsearch/domain:Domain": (
        (("domainEndpointOptions", "enforceHttps"), True), (("nodeToNodeEncryption", "enabled"), True),
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": ((("transitEncryptionEnabled",), True),),
    "aws:msk/cluster:Cluster": ((("encryptionInfo", "encryptionInTransit", "clientBroker"), "TLS"),),
}  # fmt: skip
_LISTENERS = ("aws:lb/listener:Listener", "aws:alb/listener:Listener")
GATEWAY = "kubernetes:gateway.networking.k8s.io/v1:Gateway"
INGRESS = "kubernetes:networking.k8s.io/v1:Ingress"


@resource_rule(
    id="security.tls-only",
    title="Buckets, topics, queues and file systems refuse calls without TLS",
    severity="high",
    why="A caller that forgets TLS sends data and signatures in the clear, and nobody notices.",
    fix="give it a policy that denies everything to everybody where aws:SecureTransport is false",
    references=("CIS AWS Foundations 3.0 2.1.1", "AWS FSBP S3.5"),
    types=tuple(_GUARDED),
    levels=EVERYWHERE_ON_AWS,
)
def tls_only(resource: Resource, world: World) -> Iterator[Answer]:
    """Look for a policy on it that denies plain transport."""
    kinds, path = _GUARDED[resource.type]
    documents = [one.value("policy") for one in world.plan.used_by(resource, path, *kinds)]
    if resource.peek("policy") is not MISSING:
        documents.append(resource.value("policy"))
    if not any(denies_plain_transport(one) for one in documents if one is not None):
        yield Problem("no policy on it denies calls where aws:SecureTransport is false", path="policy")


@resource_rule(
    id="security.database-forces-tls",
    title="Every database refuses connections without TLS",
    severity="high",
    why="Passwords and ledger entries would cross the network in the clear.",
    fix="give it a parameter group with rds.force_ssl = 1 (PostgreSQL) or require_secure_transport = ON (MySQL)",
    references=("AWS FSBP RDS.38", "AWS FSBP RDS.39"),
    types=tuple(_DATABASES),
    levels=EVERYWHERE_ON_AWS,
)
def database_forces_tls(database: Resource, world: World) -> Iterator[Answer]:
    """Look for the database's parameters. Oracle states it in an option group, which is not judged here."""
    engine = str(database.value("engine", default="?"))
    wanted = _FORCES.get("sqlserver" if engine.startswith("sqlserver") else engine)
    if wanted is None:
        return
    path, kind = _DATABASES[database.type]
    name, allowed = wanted
    groups = _groups(world.plan, database, path, kind)
    if not groups:
        yield Problem(f"none of this stack's parameter groups belongs to it, so nothing says {name}", path=path)
    for group in groups:
        stated = {one.get("name"): str(one.get("value")) for one in group.value("parameters", default=[])}
        if stated.get(name, "").upper() not in allowed:
            found = stated.get(name, "not stated")
            yield Problem(f"{name} is {found}; allowed: {' or '.join(allowed)}", urn=group.urn, path="parameters")


@resource_rule(
    id="security.transport-encrypted",
    title="Search domains, caches and brokers speak TLS only",
    severity="high",
    why="What they carry is as confidential as where it comes from.",
    fix="switch encryption in transit on",
    references=("AWS FSBP Opensearch.3", "AWS FSBP ElastiCache.5", "AWS FSBP MSK.1"),
    types=tuple(_SWITCHES),
    levels=EVERYWHERE_ON_AWS,
)
def transport_encrypted(resource: Resource, world: World) -> Iterator[Answer]:
    """Look at the switches of its type; what is not stated is off."""
    for path, wanted in _SWITCHES[resource.type]:
        if (found := resource.value(*path)) != wanted:
            said = "not stated" if found is None else found
            yield Problem(f"{'.'.join(path)} is {said}; allowed: {wanted}", path=".".join(path))


@resource_rule(
    id="security.listener-encrypted",
    title="Listeners of load balancers speak TLS, or send their callers where it is spoken",
    severity="high",
    why="Requests hold personal features, and tokens that let others ask in their name.",
    fix="use HTTPS or TLS with a certificate, or redirect to it",
    references=("AWS FSBP ELB.1",),
    types=_LISTENERS,
    levels=EVERYWHERE_ON_AWS,
)
def listener_encrypted(listener: Resource, world: World) -> Iterator[Answer]:
    """Look at the protocol; plain HTTP may only redirect."""
    protocol = listener.value("protocol", default="HTTP")
    if protocol in ("HTTPS", "TLS"):
        return
    actions = listener.items("defaultActions")
    if (
        protocol == "HTTP"
        and actions
        and all(
            listener.value("defaultActions", index, "redirect", "protocol") == "HTTPS" for index in range(len(actions))
        )
    ):
        return
    yield Problem(f"it speaks {protocol}; allowed: HTTPS, TLS, or HTTP that redirects to HTTPS", path="protocol")


@resource_rule(
    id="security.gateway-encrypted",
    title="Gateways and ingresses speak TLS",
    severity="high",
    why="The gateway is where callers show their tokens.",
    fix="state HTTPS with a certificate for each listener",
    types=(GATEWAY, INGRESS),
    levels=EVERYWHERE_ON_AWS,
)
def gateway_encrypted(gateway: Resource, world: World) -> Iterator[Answer]:
    """Look at each listener of a gateway, and for an ingress' certificates."""
    if gateway.type == INGRESS:
        if not gateway.items("spec", "tls"):
            yield Problem("it states no spec.tls", path="spec.tls")
        return
    for index in range(len(gateway.items("spec", "listeners"))):
        protocol = gateway.value("spec", "listeners", index, "protocol")
        where = f"spec.listeners[{index}]"
        if protocol not in ("HTTPS", "TLS"):
            yield Problem(f"it speaks {protocol}; allowed: HTTPS, TLS", path=f"{where}.protocol")
        elif gateway.peek("spec", "listeners", index, "tls", "certificateRefs") in (MISSING, (), []):
            yield Problem("it names no certificate", path=f"{where}.tls.certificateRefs")


def _groups(plan: Plan, database: Resource, path: str, kind: str) -> list[Resource]:
    return [one for one in plan.origins(database, path) if one.type == kind]
