"""Changing one version in a stack file."""

import pytest
import yaml

from infra.pins import PinError, set_version


def versions(text: str) -> dict[str, object]:
    models = yaml.safe_load(text)["config"]["mlops:models"]
    return {name: model.get("version") for name, model in models.items()}


@pytest.mark.parametrize(
    "text",
    [
        "config:\n  mlops:models:\n    churn:\n      version: latest  # why\n    loan:\n      version: 2\n",
        "config:\n  mlops:models:\n    churn:\n      seed: 3\n    loan:\n      version: 2\n",
        "config:\n  mlops:models:\n    loan:\n      version: 2\n\n# the end\n",
        "config:\n    mlops:models:\n        loan:\n            version: 2\n    mlops:baseline: local\n",
        "config:\n  mlops:models:\n    loan:\n      version: 2",
    ],
)
def test_one_version_changes_and_everything_else_stays(text: str) -> None:
    changed = set_version(text, "churn", '"4"')

    assert versions(changed) == {"loan": 2, "churn": "4"}
    kept = [line for line in text.splitlines() if "latest" not in line]
    rest = iter(changed.splitlines())
    assert all(line in rest for line in kept), changed  # all of them, in their order


def test_models_are_added_where_the_file_states_none() -> None:
    changed = set_version("config:\n  mlops:baseline: local\n", "churn", '"4"')

    assert versions(changed) == {"churn": "4"}
    assert "mlops:baseline: local" in changed


@pytest.mark.parametrize(
    "text", ["", "config: {}\n", "config:\n  mlops:models: {churn: {version: 2}}\n", "config:\n  mlops:models:\n"]
)
def test_layout_that_is_not_understood_is_left_to_the_person(text: str) -> None:
    with pytest.raises(PinError, match="write it by hand: config → mlops:models → churn → version"):
        set_version(text, "churn", '"4"')
