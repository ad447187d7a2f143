"""Encryption in transit."""

import json
from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.security.transit import (
    database_forces_tls,
    gateway_encrypted,
    listener_encrypted,
    tls_only,
    transport_encrypted,
)
from policies.testing import admit, deny, resource, undetermined, unknown

PLAIN = {"Bool": {"aws:SecureTransport": "false"}}
GUARDED = [
    ("aws:s3/bucket:Bucket", "aws:s3/bucketPolicy:BucketPolicy", "bucket"),
    ("aws:sns/topic:Topic", "aws:sns/topicPolicy:TopicPolicy", "arn"),
    ("aws:sqs/queue:Queue", "aws:sqs/queuePolicy:QueuePolicy", "queueUrl"),
    ("aws:efs/fileSystem:FileSystem", "aws:efs/fileSystemPolicy:FileSystemPolicy", "fileSystemId"),
]


def document(**changed: Any) -> str:
    statement = {"Effect": "Deny", "Action": "*", "Resource": "*", "Principal": "*", "Condition": PLAIN}
    return json.dumps({"Version": "2012-10-17", "Statement": [{**statement, **changed}]})


@pytest.mark.parametrize(("kind", "policy", "names"), GUARDED)
def test_a_policy_that_denies_plain_transport_is_admitted(kind: str, policy: str, names: str) -> None:
    thing = resource(kind, "one")
    admit(tls_only, thing, resource(policy, "one", {names: thing, "policy": document()}))
    admit(tls_only, resource(kind, "one", policy=document(Principal={"AWS": "*"})))


@pytest.mark.parametrize(("kind", "policy", "names"), GUARDED)
def test_any_other_policy_is_denied(kind: str, policy: str, names: str) -> None:
    thing, other = resource(kind, "one"), resource(kind, "other", policy=document())
    deny(tls_only, thing, at=thing)
    deny(tls_only, thing, other, resource(policy, "other", {names: other, "policy": document()}), at=thing)
    for changed in (
        {"Effect": "Allow"},
        {"Principal": {"AWS": "arn:aws:iam::333333333333:root"}},
        {"Principal": None, "NotPrincipal": {"AWS": "arn:aws:iam::333333333333:root"}},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
        {"Condition": {**PLAIN, "StringEquals": {"aws:PrincipalTag/legacy": "yes"}}},
    ):
        deny(tls_only, thing, resource(policy, "one", {names: thing, "policy": document(**changed)}), at=thing)


def test_a_policy_that_is_not_known_is_undetermined() -> None:
    for kind, policy, names in GUARDED:
        thing = resource(kind, "one")
        undetermined(tls_only, thing, resource(policy, "one", {names: thing, "policy": unknown()}), path="policy")


GROUP = "aws:rds/parameterGroup:ParameterGroup"


def group(**parameters: Any) -> Resource:
    stated = [{"name": name.replace("_force", ".force"), "value": value} for name, value in parameters.items()]
    return resource(GROUP, "database", parameters=stated)


def database(engine: Any, of: Any) -> Resource:
    return resource("aws:rds/instance:Instance", "main", engine=engine, parameterGroupName=of)


def test_a_database_forces_tls() -> None:
    forced = group(rds_force_ssl="1")
    admit(database_forces_tls, database("postgres", forced), forced)
    admit(database_forces_tls, database("sqlserver-ex", forced), forced)
    for value in ("1", "ON", "on"):
        secure = group(require_secure_transport=value)
        admit(database_forces_tls, database("mysql", secure), secure)
    admit(database_forces_tls, database("oracle-se2", "default"))


def test_a_database_that_leaves_tls_to_its_callers_is_denied() -> None:
    deny(database_forces_tls, database("postgres", None), path="parameterGroupName")
    deny(database_forces_tls, database("postgres", "default.postgres17"), says="rds.force_ssl")
    for found in (group(rds_force_ssl="0"), group(log_connections="1"), group(require_secure_transport="1")):
        deny(database_forces_tls, database("postgres", found), found, at=found, path="parameters")
    undetermined(database_forces_tls, database(unknown(), group()), path="engine")
    hidden = resource(GROUP, "database", parameters=[{"name": "rds.force_ssl", "value": unknown()}])
    undetermined(database_forces_tls, database("postgres", hidden), hidden)


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (
            "aws:opensearch/domain:Domain",
            {"domainEndpointOptions": {"enforceHttps": True}, "nodeToNodeEncryption": {"enabled": True}},
        ),
        (
            "aws:elasticsearch/domain:Domain",
            {"domainEndpointOptions": {"enforceHttps": True}, "nodeToNodeEncryption": {"enabled": True}},
        ),
        ("aws:elasticache/replicationGroup:ReplicationGroup", {"transitEncryptionEnabled": True}),
        ("aws:msk/cluster:Cluster", {"encryptionInfo": {"encryptionInTransit": {"clientBroker": "TLS"}}}),
    ],
)
def test_search_caches_and_brokers_speak_tls(kind: str, inputs: dict[str, Any]) -> None:
    admit(transport_encrypted, resource(kind, "one", inputs))
    deny(transport_encrypted, resource(kind, "one"), says="not stated", times=len(inputs))
    for name in inputs:
        deny(transport_encrypted, resource(kind, "one", {**inputs, name: None}))
        undetermined(transport_encrypted, resource(kind, "one", {**inputs, name: unknown()}))


def test_listeners_speak_tls_or_send_their_callers_there() -> None:
    kind = "aws:lb/listener:Listener"
    redirect = {"type": "redirect", "redirect": {"protocol": "HTTPS"}}
    for protocol in ("HTTPS", "TLS"):
        admit(listener_encrypted, resource(kind, "web", protocol=protocol))
    admit(listener_encrypted, resource(kind, "web", protocol="HTTP", defaultActions=[redirect]))
    forward = {"type": "forward"}
    for actions in ([], [forward], [redirect, forward], [{"redirect": {"protocol": "HTTP"}}]):
        deny(listener_encrypted, resource(kind, "web", protocol="HTTP", defaultActions=actions), path="protocol")
    deny(listener_encrypted, resource(kind, "web", protocol="TCP", defaultActions=[redirect]), says="TCP")
    deny(listener_encrypted, resource(kind, "web"), says="HTTP")
    undetermined(listener_encrypted, resource(kind, "web", protocol=unknown()), path="protocol")


def test_gateways_and_ingresses_speak_tls() -> None:
    kind = "kubernetes:gateway.networking.k8s.io/v1:Gateway"

    def gateway(*listeners: Any) -> Resource:
        return resource(kind, "predictions", spec={"listeners": list(listeners)})

    certificate = {"certificateRefs": [{"name": "predict-tls"}]}
    good = {"protocol": "HTTPS", "tls": certificate}
    admit(gateway_encrypted, gateway(good, {"protocol": "TLS", "tls": certificate}))
    deny(gateway_encrypted, gateway(good, {"protocol": "HTTP"}), path="spec.listeners[1].protocol", says="HTTP")
    without: list[dict[str, Any]] = [{}, {"certificateRefs": []}]
    for tls in without:
        deny(gateway_encrypted, gateway({"protocol": "HTTPS", "tls": tls}), says="no certificate")
    undetermined(gateway_encrypted, gateway({"protocol": unknown()}))

    ingress = "kubernetes:networking.k8s.io/v1:Ingress"
    admit(gateway_encrypted, resource(ingress, "web", spec={"tls": [{"secretName": "web-tls"}]}))
    deny(gateway_encrypted, resource(ingress, "web", spec={}), path="spec.tls")
    undetermined(gateway_encrypted, resource(ingress, "web", spec={"tls": unknown()}))


@pytest.mark.parametrize("kind", ["aws:opensearch/domain:Domain", "aws:elasticsearch/domain:Domain"])
def test_search_domains_speak_tls_to_callers_and_among_themselves(kind: str) -> None:
    good = {"domainEndpointOptions": {"enforceHttps": True}, "nodeToNodeEncryption": {"enabled": True}}
    admit(transport_encrypted, resource(kind, "one", good))
    for part, switch in (("domainEndpointOptions", "enforceHttps"), ("nodeToNodeEncryption", "enabled")):
        deny(transport_encrypted, resource(kind, "one", {**good, part: {switch: False}}), path=f"{part}.{switch}")


def test_each_group_of_parameters_that_may_be_meant_is_looked_at() -> None:
    forced = group(rds_force_ssl="1")
    left = resource(GROUP, "left", parameters=[{"name": "rds.force_ssl", "value": "0"}])
    deny(database_forces_tls, database("postgres", unknown(forced, left)), forced, left, at=left)
