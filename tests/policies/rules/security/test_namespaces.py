"""Namespaces: confined and closed."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.security.namespaces import (
    namespace_confines,
    namespace_default_deny,
    network_policy_not_open,
    pods_in_closed_namespace,
)
from policies.testing import admit, deny, resource, undetermined, unknown

ENFORCE = "pod-security.kubernetes.io/enforce"


def namespace(level: Any = "restricted", name: Any = "serving") -> Resource:
    labels = {} if level is None else {ENFORCE: level}
    return resource("kubernetes:core/v1:Namespace", "one", metadata={"name": name, "labels": labels})


def pods(where: Any = "serving") -> Resource:
    return resource("kubernetes:apps/v1:Deployment", "web", metadata={"namespace": where})


def chart(where: str = "serving") -> Resource:
    return resource("kubernetes:helm.sh/v3:Release", "chart", namespace=where)


def policy(where: Any = "serving", **spec: Any) -> Resource:
    inputs = {"metadata": {"namespace": where}, "spec": {"podSelector": {}, **spec}}
    return resource("kubernetes:networking.k8s.io/v1:NetworkPolicy", "closed", inputs)


def test_a_namespace_enforces_a_level() -> None:
    admit(namespace_confines, namespace())
    admit(namespace_confines, namespace(), pods())
    admit(namespace_confines, namespace("baseline"))
    admit(namespace_confines, namespace("privileged"), chart())
    path = f"metadata.labels.{ENFORCE}"
    for level in (None, "none", ""):
        deny(namespace_confines, namespace(level), says="allowed: privileged, baseline, restricted", path=path)
    undetermined(namespace_confines, namespace(unknown()))


def test_where_pods_of_ours_run_it_enforces_restricted() -> None:
    for level in ("baseline", "privileged"):
        deny(namespace_confines, namespace(level), pods(), chart(), says="web run there")
        admit(namespace_confines, namespace(level), pods("other"), chart())
    deny(namespace_confines, namespace("privileged"), says="no chart runs there")
    deny(namespace_confines, namespace("privileged"), chart("other"))


def test_a_namespace_is_closed_in_both_directions() -> None:
    both = ["Ingress", "Egress"]
    admit(namespace_default_deny, namespace(), policy(policyTypes=both))
    admit(namespace_default_deny, namespace(), policy(policyTypes=both[:1]), policy(policyTypes=both[1:]))
    admit(namespace_default_deny, namespace(), policy(egress=[]))
    admit(namespace_default_deny, namespace(), policy(policyTypes=both, podSelector={"matchLabels": {}}))


def test_a_namespace_that_is_open_in_a_direction_is_denied() -> None:
    both = ["Ingress", "Egress"]
    deny(namespace_default_deny, namespace(), says="Ingress and Egress")
    deny(namespace_default_deny, namespace(), policy("other", policyTypes=both))
    deny(namespace_default_deny, namespace(), policy(policyTypes=["Ingress"]), says="closes Egress")
    deny(namespace_default_deny, namespace(), policy(), says="closes Egress")
    some = {"matchLabels": {"app": "web"}}
    deny(namespace_default_deny, namespace(), policy(policyTypes=both, podSelector=some))
    deny(namespace_default_deny, namespace(), policy(policyTypes=both, podSelector=None))
    undetermined(namespace_default_deny, namespace(), policy(policyTypes=unknown()))
    undetermined(namespace_default_deny, namespace(name=unknown()))


def test_pods_run_in_namespaces_of_the_stack() -> None:
    admit(pods_in_closed_namespace, namespace(), pods())
    deny(pods_in_closed_namespace, namespace(), pods("other"), says="other", path="metadata.namespace")
    deny(pods_in_closed_namespace, namespace(), pods(None), says="default")
    undetermined(pods_in_closed_namespace, namespace(), pods(unknown()))


@pytest.mark.parametrize(("direction", "peers"), [("ingress", "from"), ("egress", "to")])
def test_no_policy_lets_everything_through(direction: str, peers: str) -> None:
    web = {"podSelector": {"matchLabels": {"app": "web"}}}
    everywhere = {"ipBlock": {"cidr": "0.0.0.0/0"}}
    https = {"ports": [{"port": 443}]}
    named: list[dict[str, Any]] = [{peers: [web]}, {peers: [everywhere], **https}, https]
    for rule in named:
        admit(network_policy_not_open, policy(**{direction: [rule]}))
    admit(network_policy_not_open, policy(**{direction: []}))
    open_to_all: list[dict[str, Any]] = [
        {},
        {peers: []},
        {peers: [web, everywhere]},
        {peers: [{"ipBlock": {"cidr": "::/0"}}], "ports": []},
    ]
    for rule in open_to_all:
        stated = policy(**{direction: [{peers: [web]}, rule]})
        deny(network_policy_not_open, stated, path=f"spec.{direction}[1]", says="in" if peers == "from" else "out")
    undetermined(network_policy_not_open, policy(**{direction: [{peers: unknown()}]}))


def test_a_rule_with_ports_does_not_hide_the_next() -> None:
    stated = policy(ingress=[{"ports": [{"port": 443}]}, {}])
    deny(network_policy_not_open, stated, path="spec.ingress[1]")
