"""What the settings ask for is held against the pools that they state, before anything is made."""

from pathlib import Path
from typing import Any

import pytest

from infra.schedulability import require_schedulable
from infra.settings import SettingsError, load_stack_file
from infra.settings.aws import Aws
from policies.scheduling.preflight import GPU_TAINT

PROJECT = Path(__file__).parents[2]
GPU_POOL = {"instanceTypes": ["g6.xlarge"], "cpus": 8, "memoryGib": 32, "gpus": 2, "gpuName": "l4"}


@pytest.fixture(scope="module")
def stated() -> dict[str, Any]:
    """The settings of dev."""
    aws = load_stack_file(PROJECT / "stacks" / "Pulumi.dev.yaml").aws
    assert aws is not None
    return aws.model_dump(mode="json", by_alias=True)


def refused(stated: dict[str, Any], **changes: Any) -> str:
    """What is said of the settings with changes, by dotted path with `__` for the dots."""
    values = Aws.model_validate(stated).model_dump(mode="json", by_alias=True)
    for path, value in changes.items():
        *sections, key = path.split("__")
        section = values
        for name in sections:
            section = section[name]
        section[key] = value
    with pytest.raises(SettingsError) as caught:
        require_schedulable(Aws.model_validate(values), "dev")
    return str(caught.value)


@pytest.mark.parametrize("stack", ["dev", "staging", "prod"])
def test_the_stacks_of_the_project_can_be_scheduled(stack: str) -> None:
    aws = load_stack_file(PROJECT / "stacks" / f"Pulumi.{stack}.yaml").aws
    assert aws is not None

    require_schedulable(aws, stack)


def test_a_worker_that_is_too_big_is_told_what_the_largest_node_has(stated: dict[str, Any]) -> None:
    said = refused(stated, inference__workers__general__cpus=16)

    assert "workload serving/ray-worker general fits on no pool" in said
    assert "serving: asks for 16 CPU, 10.0 GiB; m7i.2xlarge has" in said
    assert "stacks/Pulumi.dev.yaml" in said


def test_a_gpu_model_on_instances_without_gpu_is_refused(stated: dict[str, Any]) -> None:
    said = refused(stated, kubernetes__pools__gpu={**GPU_POOL, "instanceTypes": ["m7i.xlarge"]})

    assert "pool gpu: states GPU l4, but m7i.xlarge has no GPU" in said


def test_a_worker_that_wants_more_gpus_than_a_node_has_is_refused(stated: dict[str, Any]) -> None:
    worker = {"pool": "gpu", "cpus": 2, "memoryGib": 8, "gpus": 2, "min": 0, "max": 1}

    said = refused(stated, kubernetes__pools__gpu=GPU_POOL, inference__workers__vision=worker)

    assert "gpu: asks for 2 CPU, 8.0 GiB, 2 GPU; g6.xlarge has" in said
    # And the other pools are out for a reason of their own.
    assert "serving: its nodes have no label mlops/pool=gpu" in said


def test_a_quota_that_is_too_small_is_refused_with_both_figures(stated: dict[str, Any]) -> None:
    groups = {
        name: {"pool": "serving", "cpus": 3, "memoryGib": 10, "min": 1, "max": 9} for name in ("one", "two", "three")
    }

    said = refused(stated, inference__workers=groups)

    assert "namespace serving: its workloads ask for up to" in said
    assert "the quota is 48 CPU, 192.0 GiB: raise it or ask for less" in said


def test_an_instance_type_that_does_not_exist_is_refused(stated: dict[str, Any]) -> None:
    said = refused(stated, kubernetes__system__instanceTypes=["m7q.large"])

    assert "instance type m7q.large is not in the table" in said


def test_serving_beside_the_pools_that_must_not_lose_nodes_needs_one_that_does_not(stated: dict[str, Any]) -> None:
    spot = {"instanceTypes": ["m7i.2xlarge"], "cpus": 64, "memoryGib": 256, "capacity": "spot"}

    said = refused(stated, kubernetes__pools={"platform": spot, "serving": spot, "training": spot})

    assert "workload serving/ray-head fits on no pool" in said
    assert "platform: it is tainted with mlops/spot, which is not tolerated" in said


def test_training_of_all_models_at_once_has_to_fit_its_pool(stated: dict[str, Any]) -> None:
    aws = Aws.model_validate(stated)
    require_schedulable(aws, "dev", models=2)

    with pytest.raises(SettingsError, match=r"training: up to 17 of 2 CPU, 8.0 GiB exceed the limit of 32 CPU"):
        require_schedulable(aws, "dev", models=17)


def test_taints_of_gpu_pools_are_those_that_the_check_knows() -> None:
    from components.cluster.placement import NodePoolArgs

    pool = NodePoolArgs(
        name="gpu", instance_types=("g6.xlarge",), capacity="spot", cpus=8, memory_gib=32, gpus=1, gpu_name="l4"
    )
    assert pool.taints == (GPU_TAINT, "mlops/spot")
