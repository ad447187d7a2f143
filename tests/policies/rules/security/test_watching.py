"""What must be recorded."""

from typing import Any

from policies.plan import Resource
from policies.rules.security.watching import cluster_access_by_entries, cluster_audited, network_logged
from policies.testing import admit, deny, resource, undetermined, unknown

NETWORK = resource("aws:ec2/vpc:Vpc", "network")


def cluster(**inputs: Any) -> Resource:
    return resource("aws:eks/cluster:Cluster", "cluster", inputs)


def test_the_cluster_logs_who_asks_for_what() -> None:
    kinds = ["api", "audit", "authenticator"]
    admit(cluster_audited, cluster(enabledClusterLogTypes=[*kinds, "scheduler"]))
    deny(cluster_audited, cluster(), says="api, audit, authenticator", path="enabledClusterLogTypes")
    for kind in kinds:
        rest = [one for one in kinds if one != kind]
        deny(cluster_audited, cluster(enabledClusterLogTypes=rest), says=f"does not log {kind}")
    undetermined(cluster_audited, cluster(enabledClusterLogTypes=unknown()))


def test_access_to_the_cluster_is_said_by_entries() -> None:
    admit(cluster_access_by_entries, cluster(accessConfig={"authenticationMode": "API"}))
    deny(cluster_access_by_entries, cluster(), says="CONFIG_MAP", path="accessConfig.authenticationMode")
    deny(cluster_access_by_entries, cluster(accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"}))
    undetermined(cluster_access_by_entries, cluster(accessConfig={"authenticationMode": unknown()}))


def flow_log(**inputs: Any) -> Resource:
    return resource("aws:ec2/flowLog:FlowLog", "flow-logs", {"vpcId": NETWORK, **inputs})


def test_a_network_logs_its_traffic() -> None:
    for traffic in ("ALL", "REJECT", None):
        admit(network_logged, NETWORK, flow_log(trafficType=traffic))
    other = resource("aws:ec2/vpc:Vpc", "other")
    deny(network_logged, NETWORK, at=NETWORK, says="no flow log")
    deny(network_logged, NETWORK, other, flow_log(trafficType="ALL"), at=other)
    deny(network_logged, NETWORK, flow_log(trafficType="ACCEPT"), path="trafficType", at=flow_log())
    undetermined(network_logged, NETWORK, flow_log(trafficType=unknown()))


def test_each_flow_log_is_looked_at() -> None:
    second = resource("aws:ec2/flowLog:FlowLog", "second", vpcId=NETWORK, trafficType="ACCEPT")
    deny(network_logged, NETWORK, flow_log(trafficType="ALL"), second, at=second, path="trafficType")
