"""What each type of resource on AWS is billed for; nodes of the cluster stand in `pools`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from policies.costs.book import UnpricedError
from policies.costs.context import Context, Pricing, UnboundedError
from policies.costs.model import Charge
from policies.costs.training import training_pipeline
from policies.costs.usage import DAYS, HOURS
from policies.plan import Resource, Unknown

GP3_IOPS: Final = 3000
"""IOPS that the price of a gp3 disk includes; of RDS so too below 400 GiB."""
_KEY_VERSIONS: Final = 3
"""KMS bills a key that rotates for at most its first two rotations besides."""
_HIGH_RESOLUTION_SECONDS: Final = 60
_LIFECYCLE: Final = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"


def cluster(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the control plane; in extended support it costs more, which a cluster may fall into."""
    yield context.hours("control plane", "AmazonEKS", "cluster")
    if resource.value("upgradePolicy", "supportType", default="EXTENDED") != "STANDARD":
        extended = context.price("AmazonEKS", "cluster-extended-support")
        yield Charge(what="extended support", price=extended, expected=Decimal(0), worst=HOURS)


def addon(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the metrics of Container Insights; other add-ons run on nodes that are priced."""
    if resource.value("addonName") == "amazon-cloudwatch-observability":
        yield context.used("metrics of Container Insights", "AmazonCloudWatch", "custom-metric", "insight_metrics")


def nat_gateway(_resource: Resource, context: Context) -> Iterator[Charge]:
    """Return its hours and what goes through it."""
    yield context.hours("gateway", "AmazonVPC", "nat-gateway")
    yield context.used("data through it", "AmazonVPC", "nat-gateway-data", "nat_gb")


def elastic_ip(_resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the address, in use or not."""
    yield context.hours("public address", "AmazonVPC", "public-ipv4")


def vpc(_resource: Resource, context: Context) -> Iterator[Charge]:
    """Return what leaves the network, and what crosses zones in it."""
    yield context.used("out to the internet", "AWSDataTransfer", "internet-out", "internet_gb")
    yield context.used("between zones", "AWSDataTransfer", "between-zones", "between_zones_gb")


def endpoint(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return an endpoint: an interface is billed by zone and GB, a gateway is free."""
    kind = resource.value("vpcEndpointType", default="Gateway")
    if kind == "Gateway":
        yield context.fixed("gateway endpoint", "AmazonVPC", "gateway-endpoint", 0)
    elif kind == "Interface":
        zones = len(resource.items("subnetIds"))
        yield context.hours(f"interface in {zones} zones", "AmazonVPC", "interface-endpoint", zones)
        yield context.used("data through it", "AmazonVPC", "interface-endpoint-data", "endpoint_gb")
    else:
        raise UnboundedError(f"endpoints of type {kind} are not known to the estimate")


def database(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the instance and its storage, both twice with a standby in a second zone.

    The Amazon RDS user guide: a Multi-AZ instance is billed by the hour for primary and standby, and for the storage of
    both. Backups as large as the storage are included.
    """
    engine, kind = resource.value("engine"), resource.value("instanceClass")
    copies = 2 if resource.value("multiAz", default=False) else 1
    yield context.hours(f"{kind} x {copies}", "AmazonRDS", f"{_engine(engine)} {kind}", copies)
    storage = resource.value("storageType", default="gp3")
    if storage != "gp3" or (resource.value("iops", default=0) or 0) > GP3_IOPS:
        raise UnboundedError(f"storage {storage} with {resource.value('iops', default='no')} IOPS is not in the book")
    first = Decimal(resource.value("allocatedStorage", default=0))
    most = max(first, Decimal(resource.value("maxAllocatedStorage", default=0) or 0))
    yield context.fixed("storage", "AmazonRDS", "gp3-storage", first * copies, most * copies)


def _engine(engine: Any) -> str:
    return {"postgres": "postgresql"}.get(str(engine), str(engine))


def table(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return a table that is billed by request, and what it holds."""
    if resource.value("billingMode", default="PROVISIONED") != "PAY_PER_REQUEST":
        raise UnboundedError("provisioned capacity of tables is not in the price book; use PAY_PER_REQUEST")
    yield context.used("writes", "AmazonDynamoDB", "write-request-units", "feature_writes")
    yield context.used("reads", "AmazonDynamoDB", "read-request-units", "feature_reads")
    yield context.used("what it holds", "AmazonDynamoDB", "storage", "feature_gb")
    if resource.value("pointInTimeRecovery", "enabled", default=False):
        yield context.used("its backups", "AmazonDynamoDB", "point-in-time-recovery", "feature_gb")


def bucket(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return what lies in a bucket, older versions included, and requests.

    Where its lifecycle expires objects, as that of captures does, it holds what comes in a day times the days.
    """
    days = _kept_days(resource, context)
    if days:
        yield context.used(f"kept {days} days", "AmazonS3", "standard-storage", "capture_gb", days)
    else:
        yield context.used("what it holds", "AmazonS3", "standard-storage", "object_gb")
    yield context.used("writes", "AmazonS3", "put-requests", "object_writes")
    yield context.used("reads", "AmazonS3", "get-requests", "object_reads")


def _kept_days(resource: Resource, context: Context) -> int:
    """Return after how many days the lifecycle of a bucket expires objects; 0 where it expires none."""
    cycles = context.plan.used_by(resource, "bucket", _LIFECYCLE)
    rules = [rule for one in cycles for rule in one.value("rules", default=[]) if rule.get("status") == "Enabled"]
    return max((int((one.get("expiration") or {}).get("days", 0)) for one in rules), default=0)


def key(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return a key, and the versions that rotation adds."""
    versions = _KEY_VERSIONS if resource.value("enableKeyRotation", default=False) else 1
    yield context.fixed("key", "awskms", "key", 1, versions)


def secret(_resource: Resource, context: Context) -> Iterator[Charge]:
    """Return a secret."""
    yield context.fixed("secret", "AWSSecretsManager", "secret")


def repository(_resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the images in it."""
    yield context.used("images", "AmazonECR", "storage", "image_gb")


def log_group(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return what is written, and what is kept of it once the oldest is as old as it may get."""
    days = resource.value("retentionInDays", default=0)
    yield context.used("written", "AmazonCloudWatch", "log-ingestion", "log_gb")
    if not days:
        raise UnboundedError("it keeps its logs for ever, so that its storage has no bound: state retentionInDays")
    months = Decimal(days) / DAYS
    yield context.used(f"kept {days} days", "AmazonCloudWatch", "log-storage", "log_gb", months)


def alarm(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return an alarm: billed by the metrics that it looks at, more where it looks more often than each minute."""
    period = resource.value("period", default=_HIGH_RESOLUTION_SECONDS)
    sku = "alarm" if period >= _HIGH_RESOLUTION_SECONDS else "high-resolution-alarm"
    queries = resource.items("metricQueries")
    stated = sum(1 for one in queries if isinstance(one, Mapping) and one.get("metric"))
    searched = sum(1 for one in queries if "SELECT" in _expression(one))
    if searched:
        yield context.used("metrics of its query", "AmazonCloudWatch", sku, "query_metrics", searched)
    yield context.fixed("alarm", "AmazonCloudWatch", sku, max(1, stated) if not searched else stated)


def _expression(query: Any) -> str:
    found = query.get("expression") if isinstance(query, Mapping) else None
    return found if isinstance(found, str) else ""


def composite_alarm(_resource: Resource, context: Context) -> Iterator[Charge]:
    """Return an alarm over alarms."""
    yield context.fixed("composite alarm", "AmazonCloudWatch", "composite-alarm")


def trail(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return a trail: the first copy of a region's management events is free, events of data are not."""
    yield context.fixed("first copy of management events", "AWSCloudTrail", "first-trail", 0)
    if resource.items("eventSelectors") or resource.items("advancedEventSelectors"):
        raise UnpricedError("AWSCloudTrail", "data-events by selector", context.region)


def queue(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return requests to a queue."""
    sku = "fifo-requests" if resource.value("fifoQueue", default=False) else "standard-requests"
    yield context.used("requests", "AWSQueueService", sku, "queue_requests")


def topic(_resource: Resource, context: Context) -> Iterator[Charge]:
    """Return a topic for mails to people, which stay within what SNS sends for free."""
    yield context.fixed("mails, up to 1,000", "AmazonSNS", "first-mails", 0)


def event_rule(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return a rule over events of AWS services, which are free."""
    if resource.value("eventBusName", default="default") != "default":
        raise UnpricedError("AWSEvents", "custom event bus", context.region)
    yield context.fixed("events of AWS services", "AWSEvents", "aws-events", 0)


def schedule(_resource: Resource, context: Context) -> Iterator[Charge]:
    """Return a schedule; a run of training is one invocation."""
    invoked = context.usage.expected("training_runs") / 1_000_000
    worst = context.usage.worst("training_runs") / 1_000_000
    yield context.fixed("invocations", "AWSEvents", "scheduler-invocations", invoked, worst)


def budget(_resource: Resource, context: Context) -> Iterator[Charge]:
    """Return a budget, which is free."""
    yield context.fixed("budget", "AWSBudgets", "budget", 0)


def budget_action(_resource: Resource, context: Context) -> Iterator[Charge]:
    """Return a budget with an action: an account's first two are free."""
    yield context.fixed("action, one of two that are free", "AWSBudgets", "action-budget", 0)


def load_balancer(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return a load balancer."""
    kind = resource.value("loadBalancerType", default="application")
    yield from balancer(context, str(kind))


def service(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the load balancer that a Kubernetes service asks for."""
    if resource.value("spec", "type", default="ClusterIP") == "LoadBalancer":
        yield from balancer(context, "network")


def envoy(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the load balancer in front of a gateway."""
    if resource.value("spec", "provider", "kubernetes", "envoyService", "type", default="LoadBalancer") == (
        "LoadBalancer"
    ):
        yield from balancer(context, "network")


def balancer(context: Context, kind: str) -> Iterator[Charge]:
    """Return the charges of a load balancer of a kind."""
    yield context.hours("load balancer", "AWSELB", f"{kind}-load-balancer")
    yield context.used("capacity units", "AWSELB", f"{kind}-capacity-unit", "balancer_units", HOURS)


def volume(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return a disk."""
    kind = resource.value("type", default="gp2")
    if (resource.value("iops", default=0) or 0) > GP3_IOPS:
        raise UnboundedError("IOPS above those that the disk's price includes are not in the book")
    yield context.fixed("disk", "AmazonEC2", f"ebs-{kind}", Decimal(resource.value("size", default=0)))


def claim(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the disk behind a claim."""
    asked = resource.value("spec", "resources", "requests", "storage")
    yield context.fixed("disk", "AmazonEC2", "ebs-gp3", gib(asked))


def chart(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return the disks and load balancers that the values of a chart ask for."""
    for asked in _claims(resource.inputs.get("values")):
        yield context.fixed("disk", "AmazonEC2", "ebs-gp3", gib(asked))


def _claims(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in ("volumeClaimTemplate", "volumeClaimTemplates") and not isinstance(inner, Unknown):
                for one in inner if isinstance(inner, list) else [inner]:
                    yield one["spec"]["resources"]["requests"]["storage"]
            else:
                yield from _claims(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _claims(inner)


def gib(quantity: Any) -> Decimal:
    """Return a Kubernetes quantity of bytes in GiB.

    Raises:
        UnboundedError: it is not one.
    """
    units = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    text = str(quantity)
    unit = next((one for one in units if text.endswith(one)), "")
    try:
        return Decimal(text.removesuffix(unit)) * units.get(unit, 1) / 1024**3
    except ArithmeticError:
        raise UnboundedError(f"{quantity!r} is not a size") from None


def instance(resource: Resource, context: Context) -> Iterator[Charge]:
    """Return an instance that runs all month."""
    yield context.hours("instance", "AmazonEC2", f"linux {resource.value('instanceType')}")


PRICED: Final[Mapping[str, Pricing]] = {
    "aws:eks/cluster:Cluster": cluster,
    "aws:eks/addon:Addon": addon,
    "aws:ec2/natGateway:NatGateway": nat_gateway,
    "aws:ec2/eip:Eip": elastic_ip,
    "aws:ec2/vpc:Vpc": vpc,
    "aws:ec2/vpcEndpoint:VpcEndpoint": endpoint,
    "aws:ec2/instance:Instance": instance,
    "aws:ebs/volume:Volume": volume,
    "aws:rds/instance:Instance": database,
    "aws:dynamodb/table:Table": table,
    "aws:s3/bucket:Bucket": bucket,
    "aws:kms/key:Key": key,
    "aws:secretsmanager/secret:Secret": secret,
    "aws:ecr/repository:Repository": repository,
    "aws:cloudwatch/logGroup:LogGroup": log_group,
    "aws:cloudwatch/metricAlarm:MetricAlarm": alarm,
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": composite_alarm,
    "aws:cloudwatch/eventRule:EventRule": event_rule,
    "aws:cloudtrail/trail:Trail": trail,
    "aws:sqs/queue:Queue": queue,
    "aws:sns/topic:Topic": topic,
    "aws:scheduler/schedule:Schedule": schedule,
    "aws:budgets/budget:Budget": budget,
    "aws:budgets/budgetAction:BudgetAction": budget_action,
    "aws:lb/loadBalancer:LoadBalancer": load_balancer,
    "aws:sagemaker/pipeline:Pipeline": training_pipeline,
    "kubernetes:core/v1:Service": service,
    "kubernetes:core/v1:PersistentVolumeClaim": claim,
    "kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy": envoy,
    "kubernetes:helm.sh/v3:Release": chart,
}
"""What a type is billed for."""
