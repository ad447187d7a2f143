"""Charts and the definitions that rehearsals judge by have the same versions."""

import re
from pathlib import Path

import pytest

from components.cluster.charts import CHARTS, GATEWAY_API

MODULES = dict(
    re.findall(
        r"^\t(\S+) v(\S+)$",
        (Path(__file__).parents[2] / "infra" / "engine" / "go" / "crds" / "go.mod").read_text(),
        re.MULTILINE,
    )
)


@pytest.mark.parametrize("name", [name for name, chart in CHARTS.items() if chart.module])
def test_a_chart_installs_the_definitions_that_our_resources_are_judged_by(name: str) -> None:
    chart = CHARTS[name]

    assert chart.module is not None
    assert (chart.operator or chart.version).removeprefix("v") == MODULES[chart.module]


def test_karpenter_and_its_definitions_come_together() -> None:
    assert CHARTS["karpenter"].version == CHARTS["karpenter-crd"].version


def test_the_gateway_api_is_the_one_that_the_gateway_brings() -> None:
    assert MODULES["sigs.k8s.io/gateway-api"] == GATEWAY_API
