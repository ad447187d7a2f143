"""The pods of a plan, whatever makes them."""

from typing import Any

import pytest

from policies.plan import Resource, Secret, UndeterminedError
from policies.pods import all_pods, plain, pods_of, selects, text_of
from policies.testing import resource, unknown, world

POD = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "one"}]}}
PLACES: list[tuple[str, dict[str, Any]]] = [
    ("kubernetes:core/v1:Pod", POD),
    ("kubernetes:apps/v1:Deployment", {"spec": {"template": POD}}),
    ("kubernetes:apps/v1:StatefulSet", {"spec": {"template": POD}}),
    ("kubernetes:batch/v1:Job", {"spec": {"template": POD}}),
    ("kubernetes:batch/v1:CronJob", {"spec": {"jobTemplate": {"spec": {"template": POD}}}}),
    ("kubernetes:ray.io/v1:RayCluster", {"spec": {"headGroupSpec": {"template": POD}}}),
]


@pytest.mark.parametrize(("kind", "inputs"), PLACES)
def test_pods_are_found_where_their_maker_keeps_them(kind: str, inputs: dict[str, Any]) -> None:
    (pods,) = pods_of(resource(kind, "web", inputs))
    assert [one.name for one in pods.containers()] == ["one"]
    assert pods.labels() == {"app": "web"}
    assert pods.namespace == "default"
    assert pods.where("containers").endswith("spec.containers")


def ray(workers: Any) -> Resource:
    cluster = {"headGroupSpec": {"template": POD}, "workerGroupSpecs": workers}
    return resource("kubernetes:ray.io/v1:RayService", "inference", spec={"rayClusterConfig": cluster})


def test_each_group_of_a_ray_cluster_is_pods_of_its_own() -> None:
    found = list(pods_of(ray([{"groupName": "general", "template": POD}, {"template": POD}])))
    assert [one.title for one in found] == ["inference head", "inference general", "inference workers 1"]
    assert found[1].where() == "spec.rayClusterConfig.workerGroupSpecs[0].template.spec"


def test_those_that_submit_a_ray_job_are_its_pods_as_well() -> None:
    spec = {"rayClusterSpec": {"headGroupSpec": {"template": POD}}, "submitterPodTemplate": POD}
    found = list(pods_of(resource("kubernetes:ray.io/v1:RayJob", "train", spec=spec)))
    assert [one.title for one in found] == ["train head", "train"]
    assert found[1].where() == "spec.submitterPodTemplate.spec"


def test_groups_and_containers_that_are_not_known_are_undetermined() -> None:
    with pytest.raises(UndeterminedError):
        list(pods_of(ray(unknown())))
    (pods,) = pods_of(resource("kubernetes:core/v1:Pod", "web", spec={"containers": [unknown()]}))
    with pytest.raises(UndeterminedError):
        list(pods.containers())


def test_a_sidecar_that_goes_on_does_not_count_as_one_before() -> None:
    before = [{"name": "setup"}, {"name": "beside", "restartPolicy": "Always"}]
    (pods,) = pods_of(resource("kubernetes:core/v1:Pod", "web", spec={"containers": [{}], "initContainers": before}))
    assert [one.init for one in pods.containers("containers", "initContainers")] == [False, True, False]


def test_a_plan_has_the_pods_of_all_that_makes_some() -> None:
    things = [resource(kind, f"web-{number}", inputs) for number, (kind, inputs) in enumerate(PLACES)]
    assert len(list(all_pods(world(*things, resource("kubernetes:core/v1:Service", "web")).plan))) == len(PLACES)


@pytest.mark.parametrize(
    ("selector", "picks"),
    [
        ({}, True),
        (None, False),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "web", "tier": "b"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Like"}]}, False),
    ],
)
def test_a_selector_picks_labels(selector: Any, picks: bool) -> None:
    assert selects(selector, {"app": "web"}) is picks


def test_a_path_is_told_as_people_write_it() -> None:
    assert text_of(("spec", "containers", 0, "image")) == "spec.containers[0].image"


def test_a_value_is_plain_whether_or_not_it_is_marked_as_secret() -> None:
    assert (plain(Secret("a")), plain("b")) == ("a", "b")
