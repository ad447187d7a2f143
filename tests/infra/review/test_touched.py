"""Which stacks a change touches is told by its files, and doubt touches all."""

from __future__ import annotations

import pytest

from infra.review.touched import touched

TEXTS = {
    "stacks/Pulumi.local.yaml": "config: {}\n  mlops:baseline: local\n",
    "stacks/Pulumi.dev.yaml": "config:\n  mlops:baseline: dev\n",
    "stacks/Pulumi.prod.yaml": "config:\n  mlops:baseline: prod\n  mlops:models: {flight-delay: {}}\n",
    "stacks/baselines/local.yaml": "target: local\n",
    "stacks/baselines/dev.yaml": "extends: aws\n",
    "stacks/baselines/prod.yaml": "extends: aws\n",
    "stacks/baselines/aws.yaml": "target: aws\n",
}
ALL = ("dev", "local", "prod")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("stacks/Pulumi.prod.yaml", ("prod",)),
        ("stacks/baselines/prod.yaml", ("prod",)),
        ("stacks/baselines/aws.yaml", ("dev", "prod")),
        ("stacks/releases/flight-delay/3.yaml", ("prod",)),
        ("stacks/waivers.yaml", ALL),
        ("components/network/aws.py", ALL),
        ("policies/rules/security/buckets.py", ALL),
        ("uv.lock", ALL),
        ("training/examples/flight_delay/README.md", ALL),
        ("something/new", ALL),
        ("docs/review.md", ()),
        ("README.md", ()),
        ("tests/test_x.py", ()),
        (".github/workflows/review.yml", ()),
        ("stacks/Pulumi.gone.yaml", ("gone",)),
    ],
)
def test_a_file_touches_the_stacks_that_read_it(path: str, expected: tuple[str, ...]) -> None:
    assert touched([path], TEXTS) == expected


def test_nothing_changed_touches_nothing() -> None:
    assert touched([], TEXTS) == ()
