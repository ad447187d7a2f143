"""Pods: what Pod Security's levels ask for."""

from collections.abc import Mapping
from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.security.pods import pods_confined, root_filesystem_read_only
from policies.testing import admit, deny, resource, undetermined, unknown

CONFINED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def deployment(context: Mapping[str, Any] | None = None, *, pod: Any = None, **container: Any) -> Resource:
    one = {"name": "web", "securityContext": CONFINED if context is None else context, **container}
    spec = {"containers": [one], **(pod or {})}
    inputs = {"metadata": {"namespace": "serving"}, "spec": {"template": {"spec": spec}}}
    return resource("kubernetes:apps/v1:Deployment", "web", inputs)


def namespace(level: Any) -> Resource:
    labels = {} if level is None else {"pod-security.kubernetes.io/enforce": level}
    return resource("kubernetes:core/v1:Namespace", "serving", metadata={"name": "serving", "labels": labels})


def without(name: str, **changed: Any) -> dict[str, Any]:
    return {**{key: value for key, value in CONFINED.items() if key != name}, **changed}


def test_a_confined_pod_is_admitted_whether_or_not_its_namespace_is_in_the_plan() -> None:
    admit(pods_confined, deployment())
    admit(pods_confined, deployment(), namespace("restricted"))


@pytest.mark.parametrize(
    ("context", "says"),
    [
        (without("allowPrivilegeEscalation"), "allowPrivilegeEscalation is on"),
        (without("capabilities"), "does not drop ALL"),
        (without("capabilities", capabilities={"drop": ["NET_RAW"]}), "does not drop ALL"),
        (without("capabilities", capabilities={"drop": ["ALL"], "add": ["CHOWN"]}), "adds the capability CHOWN"),
        (
            without("capabilities", capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
            "adds the capability SYS_ADMIN",
        ),
        (without("runAsNonRoot"), "runAsNonRoot is off"),
        (without("runAsNonRoot", runAsNonRoot=False), "runAsNonRoot is off"),
        ({**CONFINED, "runAsUser": 0}, "runs as root"),
        (without("seccompProfile"), "seccompProfile is not stated"),
        (without("seccompProfile", seccompProfile={"type": "Unconfined"}), "Unconfined"),
        ({**CONFINED, "privileged": True}, "is privileged"),
    ],
)
def test_each_thing_that_restricted_asks_for_is_asked_for(context: dict[str, Any], says: str) -> None:
    deny(pods_confined, deployment(context), says=["container web", says])
    admit(pods_confined, deployment(context), namespace("privileged"))
    admit(pods_confined, deployment(context), namespace(None))


def test_a_pod_may_state_it_for_its_containers() -> None:
    rest = {key: value for key, value in CONFINED.items() if key not in ("runAsNonRoot", "seccompProfile")}
    pod = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}}
    admit(pods_confined, deployment({**rest, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}, pod=pod))
    deny(pods_confined, deployment({**rest, "runAsNonRoot": False}, pod=pod), says="runAsNonRoot")


@pytest.mark.parametrize("switch", ["hostNetwork", "hostPID", "hostIPC"])
@pytest.mark.parametrize("level", ["restricted", "baseline"])
def test_pods_keep_off_their_node(switch: str, level: str) -> None:
    where = f"spec.template.spec.{switch}"
    deny(pods_confined, deployment(pod={switch: True}), namespace(level), says=f"{switch} is on", path=where)
    mounts = {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/"}}]}
    path = "spec.template.spec.volumes[1].hostPath"
    deny(pods_confined, deployment(pod=mounts), namespace(level), path=path)
    port = deployment(ports=[{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}])
    deny(pods_confined, port, namespace(level), says="port 81")


def test_baseline_asks_for_less() -> None:
    admit(pods_confined, deployment({}), namespace("baseline"))
    admit(pods_confined, deployment({"capabilities": {"add": ["CHOWN"]}}), namespace("baseline"))
    deny(pods_confined, deployment({"capabilities": {"add": ["SYS_PTRACE"]}}), namespace("baseline"), says="SYS_PTRACE")
    nfs = deployment(pod={"volumes": [{"name": "a", "nfs": {"server": "s"}}]})
    admit(pods_confined, nfs, namespace("baseline"))
    deny(pods_confined, nfs, namespace("restricted"), says="nfs")


def test_every_container_counts() -> None:
    bad = {"name": "setup", "securityContext": without("runAsNonRoot")}
    where = "spec.template.spec.initContainers[0].securityContext.runAsNonRoot"
    deny(pods_confined, deployment(pod={"initContainers": [bad]}), path=where, says="container setup")


RAY = "kubernetes:ray.io/v1:RayService"


def ray(head: Any = None, worker: Any = None, autoscaler: Any = None) -> Resource:
    def group(context: Any) -> dict[str, Any]:
        return {"template": {"spec": {"containers": [{"name": "ray", "securityContext": context or CONFINED}]}}}

    cluster = {
        "headGroupSpec": group(head),
        "workerGroupSpecs": [{"groupName": "general", **group(worker)}],
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"securityContext": autoscaler or CONFINED},
    }
    return resource(RAY, "inference", {"metadata": {"namespace": "serving"}, "spec": {"rayClusterConfig": cluster}})


def test_ray_clusters_are_looked_into() -> None:
    bad = without("runAsNonRoot")
    admit(pods_confined, ray())
    deny(pods_confined, ray(head=bad), says="inference head")
    deny(pods_confined, ray(worker=bad), says="inference general")
    deny(pods_confined, ray(autoscaler=bad), says="autoscalerOptions")
    deny(root_filesystem_read_only, ray(autoscaler=without("readOnlyRootFilesystem")), says="autoscalerOptions")


def test_a_ray_cluster_that_does_not_scale_has_no_container_for_it() -> None:
    spec = {"headGroupSpec": {"template": {"spec": {"containers": [{"name": "ray", "securityContext": CONFINED}]}}}}
    admit(pods_confined, resource("kubernetes:ray.io/v1:RayCluster", "one", spec=spec))


def test_what_is_not_known_is_undetermined() -> None:
    undetermined(pods_confined, deployment({**CONFINED, "runAsNonRoot": unknown()}))
    undetermined(pods_confined, deployment(pod={"hostNetwork": unknown()}))
    undetermined(pods_confined, deployment(pod={"containers": [unknown()]}))
    undetermined(pods_confined, deployment(pod={"volumes": [unknown()]}))
    undetermined(pods_confined, deployment(), namespace(unknown()))


def test_containers_cannot_write_to_their_image() -> None:
    admit(root_filesystem_read_only, deployment())
    where = "spec.template.spec.containers[0].securityContext.readOnlyRootFilesystem"
    deny(root_filesystem_read_only, deployment(without("readOnlyRootFilesystem")), path=where)
    undetermined(root_filesystem_read_only, deployment({**CONFINED, "readOnlyRootFilesystem": unknown()}))


def test_a_head_that_does_not_scale_its_workers_has_no_container_for_that() -> None:
    pod = {"spec": {"containers": [{"name": "head", "securityContext": CONFINED}]}}
    cluster = {"headGroupSpec": {"template": pod}}
    inputs = {"metadata": {"namespace": "serving"}, "spec": {"rayClusterConfig": cluster}}
    admit(pods_confined, resource("kubernetes:ray.io/v1:RayService", "inference", inputs))


def test_each_pod_volume_and_capability_is_looked_at() -> None:
    deny(root_filesystem_read_only, ray(worker=without("readOnlyRootFilesystem")), says="inference general")
    volumes = [{"name": "a", "emptyDir": {}}, {"name": "b", "nfs": {"server": "s"}}]
    deny(pods_confined, deployment(pod={"volumes": volumes}), path="spec.template.spec.volumes[1]")
    strange = [{"name": "a", "nfs": {"server": "s"}, "iscsi": {"iqn": "i"}}]
    deny(pods_confined, deployment(pod={"volumes": strange}), times=2)
    first = {"add": ["NET_BIND_SERVICE", "CHOWN"], "drop": ["ALL"]}
    deny(pods_confined, deployment(without("capabilities", capabilities=first)), says="CHOWN")
    second = {"add": ["CHOWN", "SYS_ADMIN"]}
    deny(pods_confined, deployment({"capabilities": second}), namespace("baseline"), says="SYS_ADMIN")
