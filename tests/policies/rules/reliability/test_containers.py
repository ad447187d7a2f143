"""Containers: what they need, and how to tell that they work."""

from typing import Any

from policies.plan import Resource
from policies.rules.reliability.containers import probes, requests_and_limits
from policies.testing import admit, deny, resource, undetermined, unknown

PROBE = {"httpGet": {"path": "/health", "port": 80}}
ASKS = {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}


def deployment(*containers: Any, **more: Any) -> Resource:
    spec = {"containers": [{"name": f"c{number}", **one} for number, one in enumerate(containers)], **more}
    return resource("kubernetes:apps/v1:Deployment", "web", spec={"template": {"spec": spec}})


def test_what_serves_has_both_probes() -> None:
    both = {"readinessProbe": PROBE, "livenessProbe": PROBE}
    admit(probes, deployment(both))
    admit(probes, deployment(both, {}))
    for probe in both:
        rest = {name: one for name, one in both.items() if name != probe}
        where = f"spec.template.spec.containers[0].{probe}"
        deny(probes, deployment(rest, both), says=f"container c0: no {probe}", path=where)
        deny(probes, deployment({**both, probe: {}}), path=where)
    undetermined(probes, deployment(unknown_container()))


def unknown_container() -> dict[str, Any]:
    return {"name": unknown()}


def test_containers_ask_for_what_they_need() -> None:
    admit(requests_and_limits, deployment({"resources": ASKS}, initContainers=[{"name": "i", "resources": ASKS}]))
    same = {"requests": ASKS["requests"], "limits": {"memory": "512Mi"}}
    admit(requests_and_limits, deployment({"resources": same}))


def test_what_is_not_stated_is_denied() -> None:
    deny(requests_and_limits, deployment({}), times=3)
    for part, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
        rest = {**ASKS, part: {key: one for key, one in ASKS[part].items() if key != name}}
        where = f"spec.template.spec.containers[0].resources.{part}.{name}"
        deny(requests_and_limits, deployment({"resources": rest}), says=f"no {part}.{name}", path=where)
    setup = [{"name": "setup", "resources": {**ASKS, "limits": {}}}]
    deny(requests_and_limits, deployment({"resources": ASKS}, initContainers=setup), says="container setup")


def test_a_limit_below_what_is_asked_for_is_denied() -> None:
    low = {**ASKS, "limits": {"memory": "511Mi"}}
    deny(requests_and_limits, deployment({"resources": low}), says="asks for 512Mi of memory and is limited to 511Mi")


def test_resources_that_are_not_known_are_undetermined() -> None:
    undetermined(requests_and_limits, deployment({"resources": unknown()}))


def cluster(head: Any, worker: Any) -> Resource:
    def group(container: Any) -> dict[str, Any]:
        return {"template": {"spec": {"containers": [{"name": "ray", **container}]}}}

    spec = {"headGroupSpec": group(head), "workerGroupSpecs": [{"groupName": "general", **group(worker)}]}
    return resource("kubernetes:ray.io/v1:RayService", "inference", spec={"rayClusterConfig": spec})


def test_head_and_workers_are_both_judged() -> None:
    good: dict[str, Any] = {"readinessProbe": PROBE, "livenessProbe": PROBE, "resources": ASKS}
    deny(probes, cluster(good, {"readinessProbe": PROBE}), says="inference general, container ray: no livenessProbe")
    deny(requests_and_limits, cluster(good, {}), says="inference general", times=3)
