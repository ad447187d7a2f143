"""Each workload fits on some pool, and a misfit is told with the pool, the figure and what is missing."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.scheduling.nodes import Capacity, instances
from policies.scheduling.preflight import GPU_TAINT, Environment, Pool, Workload, check

GIB = 1024
SERVING = Pool(
    name="serving",
    instance_types=("m7i.xlarge", "m7i.2xlarge"),
    zones=frozenset({"a", "b", "c"}),
    limit=Capacity(cpus=32, memory_mib=128 * GIB),
)
GPU = Pool(
    name="gpu",
    instance_types=("g6.xlarge",),
    taints=frozenset({GPU_TAINT}),
    zones=frozenset({"a", "b"}),
    limit=Capacity(cpus=8, memory_mib=32 * GIB, gpus=2),
    gpu_name="l4",
)
SPOT = Pool(name="training", instance_types=("m7i.2xlarge",), spot=True, zones=frozenset({"a"}))
DAEMONS = Capacity(cpus=0.5, memory_mib=GIB)
ENVIRONMENT = Environment(
    pools=(SERVING, GPU, SPOT),
    daemons=DAEMONS,
    quotas={"serving": Capacity(cpus=30, memory_mib=100 * GIB, gpus=2)},
)
WORKER = Workload(
    name="ray-worker",
    namespace="serving",
    size=Capacity(cpus=3, memory_mib=10 * GIB),
    replicas=4,
    selector={"mlops/pool": "serving"},
)


def refusals(**changes: object) -> list[str]:
    return [str(refusal) for refusal in check(ENVIRONMENT, [dataclasses.replace(WORKER, **changes)])]  # type: ignore[arg-type]


def test_what_fits_is_not_refused() -> None:
    assert refusals() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"selector": {"mlops/pool": "fast"}}, "serving: its nodes have no label mlops/pool=fast"),
        ({"selector": {"mlops/pool": "gpu"}}, "gpu: it is tainted with nvidia.com/gpu, which is not tolerated"),
        (
            {"size": Capacity(cpus=8, memory_mib=10 * GIB)},
            "serving: asks for 8 CPU, 10.0 GiB; m7i.2xlarge has 7.41 CPU, 27.1 GiB left",
        ),
        ({"size": Capacity(cpus=3, memory_mib=10 * GIB, gpus=1)}, "m7i.2xlarge has"),
        (
            {"replicas": 11, "size": Capacity(cpus=3, memory_mib=4 * GIB)},
            "up to 11 of 3 CPU, 4.0 GiB exceed the limit of 32 CPU",
        ),
        ({"selector": {"mlops/pool": "training"}, "survives_spot": False}, "training: it is a Spot pool"),
        ({"selector": {"mlops/pool": "training"}, "zones": frozenset({"b"})}, "training: it starts no nodes in b"),
        ({"architecture": "arm64"}, "serving: none of its instance types runs arm64"),
    ],
)
def test_a_misfit_is_told_with_its_pool_and_reason(changes: dict[str, object], said: str) -> None:
    found = refusals(**changes)

    assert found
    assert said in found[0]


def test_a_gpu_workload_fits_on_the_pool_that_it_tolerates() -> None:
    found = refusals(
        size=Capacity(cpus=3, memory_mib=8 * GIB, gpus=1), replicas=2, selector={}, tolerations=frozenset({GPU_TAINT})
    )

    assert found == []


def test_a_quota_that_is_too_small_is_told_for_the_namespace() -> None:
    found = check(ENVIRONMENT, [WORKER, dataclasses.replace(WORKER, name="more", replicas=7)])

    assert [refusal.subject for refusal in found] == ["namespace serving"]
    assert "up to 33 CPU" in str(found[0])


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        (dataclasses.replace(SERVING, instance_types=("m7i.huge",)), "is not in the table"),
        (dataclasses.replace(GPU, instance_types=("m7i.xlarge",)), "states GPU l4, but m7i.xlarge has no GPU"),
        (dataclasses.replace(GPU, gpu_name="t4"), "states GPU t4, but g6.xlarge has l4"),
        (dataclasses.replace(SERVING, instance_types=("g6.xlarge",)), "the pool states none"),
        (dataclasses.replace(SERVING, limit=Capacity(cpus=2, memory_mib=GIB)), "does not hold a single m7i.xlarge"),
    ],
)
def test_a_pool_that_contradicts_itself_is_refused(pool: Pool, said: str) -> None:
    found = check(Environment(pools=(pool,), daemons=DAEMONS), [])

    assert said in str(found[0])


def test_the_kubelet_keeps_its_part() -> None:
    free = instances()["m7i.xlarge"].allocatable

    # Of 4 vCPU 0.06, 0.01 and twice 0.005; of 16 GiB 7.5 %, 255 MiB, 11 MiB for each of 110 pods, and 100 MiB.
    assert free.cpus == pytest.approx(4 - 0.08)
    assert free.memory_mib == pytest.approx(16384 * 0.925 - 255 - 1210 - 100)


@given(st.floats(0.1, 16), st.floats(0.1, 64))
def test_a_smaller_workload_never_fits_worse(cpus: float, memory: float) -> None:
    large = dataclasses.replace(WORKER, replicas=1, size=Capacity(cpus=cpus, memory_mib=memory * GIB))
    small = dataclasses.replace(large, size=Capacity(cpus=cpus / 2, memory_mib=memory * GIB / 2))

    if not check(ENVIRONMENT, [large]):
        assert not check(ENVIRONMENT, [small])
