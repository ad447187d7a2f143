"""Every type of the rehearsal's table has outputs of the right form."""

from __future__ import annotations

import pytest

from infra.planning import made_up
from infra.provider.codec import is_known
from infra.rehearsal.aws import schema
from infra.rehearsal.aws.kind import Situation
from infra.rehearsal.aws.perform import Performer
from infra.rehearsal.aws.resources import KINDS

pytestmark = pytest.mark.slow  # a file that takes seconds together

URN = "urn:pulumi:test::mlops::{}::thing"


def _situation(token: str, identity: str = "") -> Situation:
    inputs = {
        name: "arn:aws:x" if name == "secretId" else "x"
        for name, one in schema.resource(token).inputs.items()
        if one.always
    }
    return Situation(
        name="thing", inputs=inputs, old={}, state={}, id=identity, account="111111111111", region="eu-central-1",
        partition="aws", tags={}, aws=None,
    )  # fmt: skip


@pytest.mark.parametrize("token", sorted(KINDS))
def test_nothing_that_is_put_out_is_unknown(token: str) -> None:
    performer, urn = Performer(KINDS[token]), URN.format(token)
    identity = made_up.identity(performer.kind, urn, _situation(token))
    at = _situation(token, identity)
    found = made_up.outputs(performer.kind, performer.schema, urn, at, performer.promised(at.inputs, {}))
    assert identity
    assert "{" not in identity
    assert is_known(found)
    assert set(found) <= {*performer.schema.outputs, *performer.schema.inputs}
    assert "arn" in performer.schema.inputs or str(found.get("arn", "arn:aws:")).startswith("arn:aws:")


@pytest.mark.parametrize(
    "token", sorted({*made_up._IDS, *made_up._ARNS, *made_up._OTHERS}, key=str), ids=lambda token: token
)
def test_the_table_names_types_and_outputs_that_exist(token: str) -> None:
    found = schema.resource(token)
    assert set(made_up._OTHERS.get(token, {})) <= set(found.outputs)
    assert token not in made_up._ARNS or "arn" in found.outputs
