"""Roles on AWS: each workload of the matrix has one, with its rights, for it alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from components.cloud import Cloud
from components.identity import aws
from components.identity.aws import AwsIdentities, AwsIdentitiesArgs
from components.identity.matrix import MATRIX, statements
from components.testing import Recording

Run = Callable[[Callable[[], Any]], Recording]


@pytest.fixture
def identities(cloud: Cloud, run: Run) -> Callable[[], Recording]:
    args = AwsIdentitiesArgs(cloud=cloud, cluster="acme-prod-main", cluster_made="acme-prod-main")
    return lambda: run(lambda: AwsIdentities("identities", args))


def test_each_workload_has_a_role_with_its_rights_and_no_others(
    identities: Callable[[], Recording], cloud: Cloud
) -> None:
    made = identities()

    rights = made.of_type("aws:iam/rolePolicy:RolePolicy")
    assert set(made.of_type("aws:iam/role:Role")) == set(rights) == {one.name for one in MATRIX}
    for one in MATRIX:
        assert json.loads(rights[one.name].inputs["policy"])["Statement"] == statements(one, cloud)


def test_a_workload_taken_out_of_the_matrix_has_no_role(
    identities: Callable[[], Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws, "MATRIX", MATRIX[1:])

    assert MATRIX[0].name not in identities().of_type("aws:iam/role:Role")


def test_pods_get_their_role_by_association_once_its_rights_are_there(identities: Callable[[], Recording]) -> None:
    made = identities()

    associations = made.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    assert {(entry.inputs["namespace"], entry.inputs["serviceAccount"]) for entry in associations.values()} == {
        (one.namespace, one.service_account) for one in MATRIX if one.namespace
    }
    for name, entry in associations.items():
        assert made.waits_for(entry, made.of_type("aws:iam/rolePolicy:RolePolicy")[name])


@pytest.mark.parametrize("one", MATRIX, ids=lambda one: one.name)
def test_only_its_service_account_or_service_takes_a_role(identities: Callable[[], Recording], one: Any) -> None:
    role = identities().of_type("aws:iam/role:Role")[one.name]

    (statement,) = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
    condition = statement["Condition"]["StringEquals"]
    if one.service:
        assert condition == {"aws:SourceAccount": "333333333333"}
        assert statement["Principal"] == {"Service": f"{one.service}.amazonaws.com"}
    else:
        assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
        assert condition["aws:RequestTag/kubernetes-namespace"] == one.namespace
        assert condition["aws:RequestTag/kubernetes-service-account"] == one.service_account
        assert (
            condition["aws:RequestTag/eks-cluster-arn"]
            == "arn:aws:eks:eu-central-1:333333333333:cluster/acme-prod-main"
        )
