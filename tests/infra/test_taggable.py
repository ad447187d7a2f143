"""The table of AWS types that carry tags is that of the installed SDK."""

import pytest

from infra.taggable import installed, table
from policies.taggable import FILE, taggable


@pytest.mark.slow
def test_table_is_that_of_the_installed_sdk() -> None:
    assert FILE.read_text("utf-8") == table(installed()), "python -m infra.taggable --write"


def test_table_tells_whether_default_tags_reach_a_type() -> None:
    found = taggable()
    assert found["aws:s3/bucket:Bucket"] is True
    assert found["aws:autoscaling/group:Group"] is False
    assert "aws:iam/rolePolicy:RolePolicy" not in found
