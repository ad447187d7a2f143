"""Images by digest, from the environment's own registry, in pods and in the values of charts."""

from typing import Any

import pytest

from policies.plan import Resource
from policies.rules.governance.images import chart_image_by_digest, image_by_digest
from policies.testing import admit, deny, resource, undetermined, unknown

OWN = "333333333333.dkr.ecr.eu-central-1.amazonaws.com/acme/prod/serving"
DIGEST = "sha256:" + "a" * 64
SETTINGS = {"environment": "prod", "aws.accountId": "333333333333", "aws.region": "eu-central-1"}
FACTS: dict[str, Any] = {"settings": SETTINGS, "client": "acme"}
ELSEWHERE = [
    f"docker.io/acme/prod/serving@{DIGEST}",
    f"444444444444.dkr.ecr.eu-central-1.amazonaws.com/acme/prod/serving@{DIGEST}",
    f"333333333333.dkr.ecr.us-east-1.amazonaws.com/acme/prod/serving@{DIGEST}",
    f"333333333333.dkr.ecr.eu-central-1.amazonaws.com/acme/dev/serving@{DIGEST}",
    f"333333333333.dkr.ecr.eu-central-1.amazonaws.com/other/prod/serving@{DIGEST}",
    f"333333333333xdkr.ecr.eu-central-1.amazonaws.com/acme/prod/serving@{DIGEST}",
]


def server(image: Any, kind: str = "containers") -> Resource:
    spec = {"containers": [{"name": "main", "image": f"{OWN}@{DIGEST}"}]} | {kind: [{"name": "one", "image": image}]}
    return resource("kubernetes:apps/v1:Deployment", "server", spec={"template": {"spec": spec}})


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_own_image_by_digest_is_admitted_and_one_by_tag_denied(kind: str) -> None:
    admit(image_by_digest, server(f"{OWN}@{DIGEST}", kind), **FACTS)
    path = f"spec.template.spec.{kind}[0].image"
    deny(image_by_digest, server(f"{OWN}:latest", kind), path=path, says="not named by its digest", **FACTS)
    deny(image_by_digest, server(f"{OWN}@sha256:abc", kind), path=path, **FACTS)
    deny(image_by_digest, server(None, kind), path=path, **FACTS)


@pytest.mark.parametrize("image", ELSEWHERE)
def test_image_of_another_registry_is_denied(image: str) -> None:
    deny(image_by_digest, server(image), says="another registry than the environment's", **FACTS)


def test_ray_clusters_are_looked_into() -> None:
    head = {"template": {"spec": {"containers": [{"name": "head", "image": f"{OWN}:1"}]}}}
    kind = "kubernetes:ray.io/v1:RayService"
    deny(image_by_digest, resource(kind, "ray", spec={"rayClusterConfig": {"headGroupSpec": head}}), **FACTS)


def test_settings_that_name_no_registry_deny() -> None:
    deny(image_by_digest, server(f"{OWN}@{DIGEST}"), settings={"environment": "prod"}, says="no account and region")


def test_image_that_is_not_known_leaves_it_open() -> None:
    undetermined(image_by_digest, server(unknown()), path="spec.template.spec.containers.0.image", **FACTS)


def chart(**values: Any) -> Resource:
    return resource("kubernetes:helm.sh/v3:Release", "chart", chart="c", values=values)


def test_chart_that_states_no_image_or_an_own_one_is_admitted() -> None:
    admit(chart_image_by_digest, chart(replicas=2, note=unknown()), **FACTS)
    admit(chart_image_by_digest, chart(image=f"{OWN}@{DIGEST}"), **FACTS)
    admit(chart_image_by_digest, chart(image={"repository": OWN, "digest": DIGEST}), **FACTS)
    admit(chart_image_by_digest, chart(image={"pullPolicy": "Always"}), **FACTS)
    admit(chart_image_by_digest, chart(containers=[{"image": f"{OWN}@{DIGEST}", "env": unknown()}]), **FACTS)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"image": f"{OWN}:1"}, "values.image"),
        ({"a": {"image": {"repository": OWN, "tag": "1"}}}, "values.a.image"),
        ({"image": {"registry": "ghcr.io", "repository": "a/b", "digest": DIGEST}}, "values.image"),
        (
            {"template": {"spec": {"containers": [{"name": "x", "image": "ghcr.io/x:1"}]}}},
            "values.template.spec.containers[0].image",
        ),
    ],
)
def test_chart_that_states_another_image_is_denied(values: Any, path: str) -> None:
    deny(chart_image_by_digest, chart(**values), path=path, **FACTS)


@pytest.mark.parametrize(
    "values",
    [
        {"image": unknown()},
        {"image": {"repository": OWN, "digest": unknown()}},
        {"template": unknown()},
        {"containers": [unknown()]},
    ],
)
def test_chart_whose_image_is_not_known_leaves_it_open(values: Any) -> None:
    undetermined(chart_image_by_digest, chart(**values), **FACTS)


def test_every_group_of_pods_and_every_value_is_looked_at() -> None:
    def pods(image: str) -> dict[str, Any]:
        return {"template": {"spec": {"containers": [{"name": "one", "image": image}]}}}

    workers = [pods(f"{OWN}:1") | {"groupName": "general"}]
    config = {"headGroupSpec": pods(f"{OWN}@{DIGEST}"), "workerGroupSpecs": workers}
    ray = resource("kubernetes:ray.io/v1:RayService", "ray", spec={"rayClusterConfig": config})
    deny(
        image_by_digest,
        ray,
        path="spec.rayClusterConfig.workerGroupSpecs[0].template.spec.containers[0].image",
        **FACTS,
    )
    good, bad = f"{OWN}@{DIGEST}", "ghcr.io/x:1"
    deny(chart_image_by_digest, chart(a={"image": good}, b={"image": bad}), path="values.b.image", **FACTS)
    containers = [{"image": good}, {"image": bad}]
    deny(chart_image_by_digest, chart(containers=containers), path="values.containers[1].image", **FACTS)


@pytest.mark.parametrize("missing", ["aws.accountId", "aws.region"])
def test_registry_needs_account_and_region(missing: str) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != missing}
    deny(image_by_digest, server(f"{OWN}@{DIGEST}"), settings=settings, client="acme", says="no account and region")


def test_settings_that_name_half_of_a_registry_deny() -> None:
    for name in ("aws.accountId", "aws.region"):
        half = {"environment": "prod", name: SETTINGS[name]}
        deny(image_by_digest, server(f"{OWN}@{DIGEST}"), settings=half, says="no account and region")


def test_containers_of_a_chart_that_are_not_known_leave_it_open() -> None:
    undetermined(chart_image_by_digest, chart(containers=[unknown()]), **FACTS)
    admit(chart_image_by_digest, chart(containers=[{"image": f"{OWN}@{DIGEST}"}]), **FACTS)
