"""Quantities of Kubernetes, and quotas of EC2."""

import pytest

from policies.scheduling.quantities import mib, quantity
from policies.scheduling.quotas import quota_of


@pytest.mark.parametrize(
    ("stated", "value"),
    [("500m", 0.5), ("2", 2), (2, 2), (0.5, 0.5), ("1.5", 1.5), ("1k", 1000), ("1Ki", 1024), ("1.5Gi", 1.5 * 2**30)],
)
def test_a_quantity_is_read_in_its_base_unit(stated: object, value: float) -> None:
    assert quantity(stated) == pytest.approx(value)


def test_memory_is_read_in_mebibytes() -> None:
    assert mib("1Gi") == 1024
    assert mib("1048576") == 1


@pytest.mark.parametrize("stated", ["", "m", "1Zi", "-1", "1 Gi", None, "1e3x"])
def test_what_is_no_quantity_is_refused(stated: object) -> None:
    with pytest.raises(ValueError, match="is no quantity of Kubernetes"):
        quantity(stated)


@pytest.mark.parametrize(
    ("kind", "capacity", "code"),
    [
        ("m7i.xlarge", "on-demand", "L-1216C47A"),
        ("m7i-flex.large", "spot", "L-34B43A08"),
        ("g5.xlarge", "on-demand", "L-DB2E81BA"),
        ("p4d.24xlarge", "spot", "L-7212CCBC"),
    ],
)
def test_an_instance_counts_against_the_quota_of_its_family(kind: str, capacity: str, code: str) -> None:
    found = quota_of(kind, capacity)
    assert found is not None
    assert found[0] == code


@pytest.mark.parametrize("kind", ["inf2.xlarge", "trn1.2xlarge", "hpc7a.large", "x2gd.large", "", "7"])
def test_a_family_whose_quota_is_not_here_has_none(kind: str) -> None:
    assert quota_of(kind, "on-demand") is None
