"""The trainer's key: a place that is made, and a value that no program sees."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from components.cloud import Cloud
from components.identity.matrix import MATRIX
from components.pipelines.trainer_key import PURPOSE, TrainerKey, TrainerKeyArgs, signing_environment
from components.testing import Recording

Run = Callable[[Callable[[], Any]], Recording]


def test_the_place_is_made_without_a_value(cloud: Cloud, run: Run) -> None:
    found = run(lambda: TrainerKey("signing-key", TrainerKeyArgs(cloud=cloud, key="KEY")))

    kept = found.only("aws:secretsmanager/secret:Secret").inputs
    assert (kept["name"], kept["kmsKeyId"], kept["recoveryWindowInDays"]) == ("acme/prod/signing-key", "KEY", 30)
    assert not found.of_type("aws:secretsmanager/secretVersion:SecretVersion")


def test_an_unprotected_environment_frees_the_name_at_once(cloud: Cloud, run: Run) -> None:
    args = TrainerKeyArgs(cloud=replace(cloud, protected=False), key="KEY")

    found = run(lambda: TrainerKey("signing-key", args))

    assert found.only("aws:secretsmanager/secret:Secret").inputs["recoveryWindowInDays"] == 0


def test_only_trainers_may_read_it() -> None:
    readers = {one.name for one in MATRIX for grant in one.grants if (grant.kind, grant.name) == ("secret", PURPOSE)}

    assert readers <= {"training", "jobs"}


def test_jobs_are_told_where_it_is_and_whose(cloud: Cloud) -> None:
    assert signing_environment(cloud, "prod", "company") == {
        "MLOPS_SIGNING_KEY": "secretsmanager:acme/prod/signing-key",
        "MLOPS_SIGNER": "trainer@prod",
        "MLOPS_TRUST_ROOT": "company",
    }
