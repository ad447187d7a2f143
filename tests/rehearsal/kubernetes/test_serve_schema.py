"""Ray's schema and what it lets pass."""

from collections.abc import Callable, Iterator
from importlib import import_module

import pytest

pytestmark = pytest.mark.slow

APPLICATIONS = """\
applications:
  - name: models
    route_prefix: /v2
    import_path: serving.application:build
    deployments:
      - name: Ingress
        ray_actor_options: {num_cpus: 1}
        autoscaling_config: {min_replicas: 1, max_replicas: 4}
"""


@pytest.fixture(scope="module")
def reasons() -> Callable[[str], Iterator[str]]:
    """The judgement; imported here because Ray comes with it."""
    judge: Callable[[str], Iterator[str]] = import_module("infra.rehearsal.kubernetes.serve_schema").reasons
    return judge


def test_good_configuration_passes(reasons: Callable[[str], Iterator[str]]) -> None:
    assert list(reasons(APPLICATIONS)) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("route_prefix: /v2", "route_prefix: v2", "applications.0.route_prefix: v2 must begin"),
        ("serving.application:build", "serving", "applications.0.import_path: "),
        ("min_replicas: 1", "min_replicas: 9", "applications.0.deployments.0.autoscaling_config"),
        ("min_replicas: 1", "min_repliacs: 1", "applications.0.deployments.0.autoscaling_config.min_repliacs: unknown"),
        ("    deployments:", "    deploymnets:", "applications.0.deploymnets: unknown field"),
        ("num_cpus: 1", "num_cpu: 1", "applications.0.deployments.0.ray_actor_options.num_cpu: unknown field"),
        ("num_cpus: 1", "num_cpus: -1", "applications.0.deployments.0.ray_actor_options.num_cpus: "),
        ("applications:\n", "- ", "must be a mapping"),
        ("name: models", "name: {", "is no YAML"),
    ],
)
def test_what_is_wrong_is_named(reasons: Callable[[str], Iterator[str]], old: str, new: str, expected: str) -> None:
    text = "- a" if new == "- " else APPLICATIONS.replace(old, new)
    found = list(reasons(text))
    assert found
    assert found[0].startswith(expected)
