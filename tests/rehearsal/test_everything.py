"""One resource of every type of the table, through its whole life with the real engine."""

from collections.abc import Callable

import pytest

from infra.rehearsal import leftovers
from infra.rehearsal.aws.resources import KINDS
from infra.rehearsal.moto import MotoServer
from tests.rehearsal.conftest import Rehearsed

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1500)]


def test_every_type_is_made_read_updated_and_removed(
    rehearsed: Callable[[str], Rehearsed], aws_server: MotoServer
) -> None:
    before = leftovers.census(aws_server, "eu-central-1")
    everything = rehearsed("everything")

    assert everything.run("up").ok
    assert set(leftovers.made(everything.state())) == set(KINDS)
    assert everything.run("preview", "--expect-no-changes").ok

    updated = everything.run("up", change="second")
    assert updated.ok
    assert updated.changes["update"] > 50
    assert "replace" not in updated.changes
    assert not everything.run("refresh", change="second").changed

    assert everything.run("destroy", change="second").ok
    assert leftovers.left(before, leftovers.census(aws_server, "eu-central-1")) == {}
