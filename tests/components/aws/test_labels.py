"""Labels reach every object of Kubernetes below a component, and nothing else."""

from __future__ import annotations

import pulumi
import pytest

from components.labels import labelled


def asked(kind: str, **props: object) -> pulumi.ResourceTransformationResult | None:
    args = pulumi.ResourceTransformationArgs(None, kind, "one", props, pulumi.ResourceOptions())  # type: ignore[arg-type]
    return labelled({"mlops/owner": "team", "mlops/client": "acme"})(args)


def test_object_gets_the_labels_beside_its_own_which_win() -> None:
    found = asked("kubernetes:core/v1:Namespace", metadata={"name": "a", "labels": {"mlops/owner": "own", "b": "c"}})
    assert found is not None
    assert found.props["metadata"] == {
        "name": "a",
        "labels": {"mlops/owner": "own", "mlops/client": "acme", "b": "c"},
    }


def test_object_without_metadata_gets_some() -> None:
    found = asked("kubernetes:core/v1:ConfigMap", data={"a": "b"})
    assert found is not None
    assert found.props == {
        "data": {"a": "b"},
        "metadata": {"labels": {"mlops/owner": "team", "mlops/client": "acme"}},
    }


@pytest.mark.parametrize("kind", ["aws:s3/bucket:Bucket", "kubernetes:helm.sh/v3:Release", "mlops:x:Y"])
def test_what_is_no_object_stays_as_it_is(kind: str) -> None:
    assert asked(kind, metadata={}) is None
