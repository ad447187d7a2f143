"""What pods ask for, as documents of Kubernetes."""

import pytest

from components.workload import Resources


@pytest.mark.parametrize(
    ("cpus", "memory_gib", "cpu", "memory"),
    [
        (0.25, 0.75, "250m", "768Mi"),
        (1, 1, "1", "1Gi"),
        (2.5, 12, "2500m", "12Gi"),
        (4, 1.5, "4", "1536Mi"),
        (96, 1024, "96", "1Ti"),
        (2000, 2048, "2k", "2Ti"),
    ],
)
def test_quantities_are_as_an_operator_writes_them_back(cpus: float, memory_gib: float, cpu: str, memory: str) -> None:
    found = Resources(cpus=cpus, memory_gib=memory_gib).document()
    assert found == {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def test_gpus_are_asked_for_and_limited() -> None:
    found = Resources(cpus=1, memory_gib=1, gpus=2).document()
    assert found["requests"]["nvidia.com/gpu"] == found["limits"]["nvidia.com/gpu"] == "2"
