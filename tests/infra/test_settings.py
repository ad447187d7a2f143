"""Settings: what is read, how layers are merged, and what a person is told when something is wrong."""

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pulumi
import pytest
import yaml

from infra.settings import Settings, SettingsError, load_stack_file, read_program
from infra.settings.__main__ import main
from infra.settings.documents import baseline_schema, documents, stack_schema
from infra.settings.model import MODEL_NAME, Ports
from infra.settings.sources import merge

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one model folder and no stack."""
    (tmp_path / "stacks" / "baselines").mkdir(parents=True)
    folder = tmp_path / "training" / "churn"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text("")
    return tmp_path


def baseline(project: Path, name: str, content: dict[str, Any]) -> None:
    (project / "stacks" / "baselines" / f"{name}.yaml").write_text(yaml.safe_dump(content))


def stack(project: Path, settings: dict[str, Any], name: str = "dev") -> Path:
    file = project / "stacks" / f"Pulumi.{name}.yaml"
    config = {f"mlops:{key}": value for key, value in settings.items()}
    file.write_text(yaml.safe_dump({"config": config}, allow_unicode=True))
    return file


def refused(project: Path, settings: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_stack_file(stack(project, settings))
    return str(caught.value)


def test_defaults_hold_when_a_stack_states_nothing(project: Path) -> None:
    settings = load_stack_file(stack(project, {}))

    assert settings == Settings()
    assert settings.ports.registry == 5000


def test_settings_are_frozen(project: Path) -> None:
    settings = load_stack_file(stack(project, {}))

    with pytest.raises(ValueError, match="frozen"):
        settings.ports.registry = 1  # type: ignore[misc]


def test_stack_wins_over_baseline_and_baseline_over_the_one_it_extends(project: Path) -> None:
    baseline(project, "base", {"cluster": {"logicalCpus": 8, "objectStoreMb": 100}, "environment": "base"})
    baseline(project, "dev", {"extends": "base", "cluster": {"logicalCpus": 12}, "environment": "dev"})

    settings = load_stack_file(stack(project, {"baseline": "dev", "environment": "mine"}))

    assert settings.cluster.object_store_mb == 100
    assert settings.cluster.logical_cpus == 12
    assert settings.environment == "mine"


def test_lists_are_replaced_and_null_removes(project: Path) -> None:
    models = {"churn": {"folder": "training/churn", "seed": 3}, "old": {"folder": "training/churn"}}
    baseline(project, "base", {"layers": ["foundation", "releases"], "models": models})

    settings = load_stack_file(
        stack(
            project,
            {"baseline": "base", "layers": ["foundation"], "models": {"old": None, "churn": {"seed": None}}},
        )
    )

    assert settings.layers == ("foundation",)
    assert list(settings.models) == ["churn"]
    assert settings.models["churn"].seed == 7


def test_merge_leaves_its_arguments_alone() -> None:
    base = {"a": {"b": 1}}

    assert merge(base, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    assert base == {"a": {"b": 1}}


def test_unknown_baseline_lists_the_known_ones(project: Path) -> None:
    baseline(project, "base", {})
    baseline(project, "prod", {})

    message = refused(project, {"baseline": "pord"})

    assert 'baseline = "pord"' in message
    assert "base, prod" in message
    assert "stacks/Pulumi.dev.yaml" in message


def test_baselines_in_a_circle_are_refused_with_the_circle(project: Path) -> None:
    baseline(project, "a", {"extends": "b"})
    baseline(project, "b", {"extends": "c"})
    baseline(project, "c", {"extends": "b"})

    message = refused(project, {"baseline": "a"})

    assert "b → c → b" in message
    assert "stacks/baselines/c.yaml" in message


def test_unknown_key_is_refused_with_the_nearest_known_key(project: Path) -> None:
    message = refused(project, {"cluster": {"logicalCPU": 3}})

    assert 'cluster.logicalCPU: unknown key; did you mean "logicalCpus"?' in message


def test_unknown_key_lists_the_known_ones_when_none_is_near(project: Path) -> None:
    message = refused(project, {"registry": {"zzz": 3}})

    assert "registry.zzz: unknown key; known are username" in message


def test_snake_case_is_refused_since_one_spelling_is_enough(project: Path) -> None:
    assert 'did you mean "featureStore"' in refused(project, {"feature_store": {}})


def test_all_problems_are_told_at_once_with_key_value_range_and_file(project: Path) -> None:
    baseline(project, "base", {"ports": {"registry": 80}, "cluster": {"cpus": 1}})

    message = refused(
        project,
        {
            "baseline": "base",
            "inference": {"capture": {"retentionDays": 0}},
            "models": {"churn": {"seed": "x"}},
            "target": "moon",
        },
    )

    assert message.startswith("6 problems")
    assert "ports.registry = 80: must be a whole number from 1024 to 65535 (in stacks/baselines/base.yaml)" in message
    assert "cluster.cpus: unknown key" in message
    assert (
        "inference.capture.retentionDays = 0: must be a whole number from 1 to 3650 (in stacks/Pulumi.dev.yaml)"
        in message
    )
    assert 'models.churn.seed = "x": must be a whole number from 0 to 2147483647' in message
    assert "models.churn.folder: is missing" in message
    assert 'target = "moon": must be one of "local", "aws"' in message


def test_a_model_without_folder_is_refused(project: Path) -> None:
    assert "models.churn.folder: is missing; it must be text" in refused(project, {"models": {"churn": {}}})


def test_a_secret_value_is_never_shown(project: Path) -> None:
    message = refused(project, {"environment": {"secure": "v1:abc:hunter2"}})

    assert "environment: must be text" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("name", ["A", "a", "9lives", "under_score", "a" * 42, "with space", "ends-"])
def test_model_names_outside_the_rule_are_refused(project: Path, name: str) -> None:
    message = refused(project, {"models": {name: {"folder": "training/churn"}}})

    assert MODEL_NAME in message
    assert f"models.{name}" in message


def test_a_model_cannot_take_the_name_of_the_shared_group(project: Path) -> None:
    assert "'shared' is the name of the shared serving group" in refused(
        project, {"models": {"shared": {"folder": "training/churn"}}}
    )


@pytest.mark.parametrize("folder", ["/etc", "../other", "training/../../x", "training//churn", "./training"])
def test_model_folder_outside_the_project_is_refused(project: Path, folder: str) -> None:
    assert "must be a plain path inside the project" in refused(project, {"models": {"churn": {"folder": folder}}})


def test_missing_model_folder_is_refused_with_its_key(project: Path) -> None:
    message = refused(project, {"models": {"churn": {"folder": "training/nothing"}}})

    assert "models.churn.folder = training/nothing: there is no such folder in the project" in message


def test_folder_without_model_py_is_refused(project: Path) -> None:
    (project / "training" / "empty").mkdir()

    assert "holds no model.py" in refused(project, {"models": {"churn": {"folder": "training/empty"}}})


@pytest.mark.parametrize(("version", "expected"), [("latest", "latest"), (3, "3"), ("12", "12")])
def test_version_is_latest_or_a_number(project: Path, version: object, expected: str) -> None:
    models = {"churn": {"folder": "training/churn", "version": version}}

    assert load_stack_file(stack(project, {"models": models})).models["churn"].version == expected


@pytest.mark.parametrize("version", ["newest", 0, -1, True, "1.2"])
def test_other_versions_are_refused(project: Path, version: object) -> None:
    assert "models.churn.version" in refused(
        project, {"models": {"churn": {"folder": "training/churn", "version": version}}}
    )


@pytest.mark.parametrize("schedule", ["daily", "* * * *", "61 * * * *", "* * * * * *"])
def test_schedule_that_is_not_cron_is_refused(project: Path, schedule: str) -> None:
    assert "five cron fields" in refused(
        project, {"models": {"churn": {"folder": "training/churn", "schedule": schedule}}}
    )


def test_replicas_of_a_model_in_the_shared_group_are_refused(project: Path) -> None:
    assert "group: own" in refused(project, {"models": {"churn": {"folder": "training/churn", "replicas": {"max": 2}}}})


def test_offset_moves_the_ports_that_are_not_stated(project: Path) -> None:
    ports = load_stack_file(stack(project, {"ports": {"offset": 1000, "registry": 5555}})).ports

    assert ports.registry == 5555
    assert ports.inference == Ports().inference + 1000


def test_two_settings_with_one_port_are_refused(project: Path) -> None:
    assert "registry and inference both take port 5000" in refused(project, {"ports": {"inference": 5000}})


def test_a_port_inside_the_range_of_the_workers_is_refused(project: Path) -> None:
    assert "rayWorkersFirst and inference both take port 20010" in refused(project, {"ports": {"inference": 20010}})


def test_default_ports_are_below_the_range_of_outgoing_connections() -> None:
    assert all(last < 32768 for _, _, last in Ports().ranges())


def test_unreadable_yaml_is_refused_with_its_place(project: Path) -> None:
    file = project / "stacks" / "Pulumi.dev.yaml"
    file.write_text("config:\n  mlops:ports: {a: 1\n  b: 2\n")

    with pytest.raises(SettingsError, match=r"not valid YAML at line 3.*in stacks/Pulumi\.dev\.yaml"):
        load_stack_file(file)


def test_a_key_stated_twice_is_refused(project: Path) -> None:
    (project / "stacks" / "baselines" / "twice.yaml").write_text("environment: a\nenvironment: b\n")

    assert "'environment' is stated twice" in refused(project, {"baseline": "twice"})


@pytest.mark.parametrize("content", ["- a\n", "text\n", "config: 3\n"])
def test_a_file_that_is_no_mapping_is_refused(project: Path, content: str) -> None:
    file = project / "stacks" / "Pulumi.dev.yaml"
    file.write_text(content)

    with pytest.raises(SettingsError, match="mapping of keys to values"):
        load_stack_file(file)


def test_unknown_stack_lists_the_known_ones(project: Path) -> None:
    stack(project, {}, "one")

    with pytest.raises(SettingsError, match="the stacks are: one"):
        load_stack_file(project / "stacks" / "Pulumi.two.yaml")


def test_program_reads_the_same_as_the_command_line(project: Path) -> None:
    stated = {
        "cluster": {"logicalCpus": 9},
        "layers": ["foundation"],
        "environment": "dev",
        "models": {"churn": {"folder": "training/churn", "params": {"depth": 3, "fast": True, "name": "x"}}},
    }
    as_pulumi = {f"mlops:{k}": v if isinstance(v, str) else json.dumps(v) for k, v in stated.items()}
    pulumi.runtime.set_all_config({**as_pulumi, "aws:region": "eu-west-1"})
    try:
        assert read_program(project) == load_stack_file(stack(project, stated))
    finally:
        pulumi.runtime.set_all_config({})


def test_program_hides_the_value_of_a_secret_key(project: Path) -> None:
    pulumi.runtime.set_all_config({"mlops:environment": "HUNTER2"}, ["mlops:environment"])
    try:
        with pytest.raises(SettingsError) as caught:
            read_program(project)
    finally:
        pulumi.runtime.set_all_config({}, [])

    assert "environment: must be text" in str(caught.value)
    assert "HUNTER2" not in str(caught.value)


def test_generated_files_are_current() -> None:
    stale = [str(path) for path, text in documents().items() if (PROJECT / path).read_text("utf-8") != text]

    assert not stale, f"run python -m infra.settings --write: {stale}"


def test_check_fails_until_the_files_are_written(tmp_path: Path) -> None:
    assert main(["--check", "--project", str(tmp_path)]) == 1
    assert main(["--write", "--project", str(tmp_path)]) == 0
    assert main(["--check", "--project", str(tmp_path)]) == 0


@pytest.mark.slow
def test_shipped_stacks_and_baselines_fit_the_schemas() -> None:
    for file in (PROJECT / "stacks").glob("Pulumi.*.yaml"):
        jsonschema.validate(yaml.safe_load(file.read_text()), stack_schema())
    for file in (PROJECT / "stacks" / "baselines").glob("*.yaml"):
        jsonschema.validate(yaml.safe_load(file.read_text()) or {}, baseline_schema())


@pytest.mark.parametrize(
    "config",
    [
        {"mlops:porst": {}},
        {"mlops:ports": {"registry": 1}},
        {"mlops:models": {"churn": {"version": "newest"}}},
        {"mlops:layers": ["cellar"]},
        {"mlops:models": {"Bad": {}}},
    ],
)
def test_schema_refuses_what_the_model_refuses(config: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"config": config}, stack_schema())


@pytest.mark.parametrize(
    "config",
    [
        {"mlops:models": {"churn": None}},
        {"mlops:models": {"churn": {"version": 3}}},
        {"mlops:ports": {"registry": None}},
        {"aws:region": "eu-west-1"},
    ],
)
def test_schema_admits_what_a_stack_may_state(config: dict[str, Any]) -> None:
    jsonschema.validate({"config": config}, stack_schema())
