"""The platform as a whole: what it is made of, who waits for whom, what is secret, what it exports."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from components.component import Component
from components.platform import Platform, PlatformArgs
from components.testing import UNKNOWN, DuplicateResourceError, Recording, Registration, record

PROCESS, JOB, TOKEN = "blueprint:index:Process", "blueprint:index:Job", "blueprint:index:Token"
RELEASE = "blueprint:index:ModelRelease"


def all_components() -> list[type[Component]]:
    def below(kind: type[Component]) -> list[type[Component]]:
        return [kind, *(found for child in kind.__subclasses__() for found in below(child))]

    return below(Component)


def test_every_server_of_the_platform_is_a_process(platform: Recording) -> None:
    assert set(platform.of_type(PROCESS)) == {
        "ray-head",
        "registry",
        "feature-store",
        "control",
        "inference",
        "prometheus",
        "scheduler",
    }


def test_every_model_is_trained_and_released(platform: Recording) -> None:
    assert set(platform.of_type(JOB)) == {
        "ingest-flight",
        "materialize-flight",
        "train-flight",
        "ingest-loan",
        "train-loan",
    }
    assert set(platform.of_type(RELEASE)) == {"flight", "loan"}


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        ("ray-head", "mlops:cluster:LocalCluster"),
        ("registry", "mlops:registry:LocalRegistry"),
        ("feature-store", "mlops:feature_store:LocalFeatureStore"),
        ("control", "mlops:inference:LocalInference"),
        ("inference", "mlops:inference:LocalInference"),
        ("prometheus", "mlops:monitoring:LocalMonitoring"),
        ("scheduler", "mlops:pipelines:LocalPipelines"),
    ],
)
def test_process_belongs_to_the_component_of_its_capability(platform: Recording, name: str, parent: str) -> None:
    entry = platform.of_type(PROCESS)[name]

    assert f"mlops:platform:Platform${parent}${PROCESS}::{name}" in entry.urn
    found = platform.parent_of(entry)
    assert found is not None
    assert found.type == parent


def test_components_are_children_of_the_platform_and_it_of_the_stack(platform: Recording) -> None:
    root = platform.only("mlops:platform:Platform")

    assert root.parent == ""
    for entry in platform:
        if entry.type.startswith("mlops:") and entry is not root:
            assert entry.parent == root.urn, entry.urn


def test_no_resource_is_outside_the_platform(platform: Recording) -> None:
    assert [entry.urn for entry in platform if "mlops:platform:Platform" not in entry.urn] == []


def test_every_component_registers_exactly_its_declared_outputs(platform: Recording) -> None:
    declared = {kind.__name__: kind.declared_outputs() for kind in all_components()}
    components = [entry for entry in platform if entry.type.startswith("mlops:")]

    assert len(components) == 9
    for entry in components:
        assert entry.outputs is not None, f"{entry.urn} never registered outputs"
        assert set(entry.outputs) == declared[entry.type.rsplit(":", 1)[1]], entry.urn


# --- who waits for whom -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waiting", "wanted"),
    [
        ((PROCESS, "inference"), (PROCESS, "ray-head")),
        ((JOB, "ingest-flight"), (PROCESS, "ray-head")),
        ((JOB, "materialize-flight"), (JOB, "ingest-flight")),
        ((JOB, "train-flight"), (JOB, "materialize-flight")),
        ((JOB, "train-loan"), (JOB, "ingest-loan")),
        ((JOB, "train-loan"), (PROCESS, "registry")),
        ((JOB, "train-loan"), (PROCESS, "ray-head")),
        ((PROCESS, "scheduler"), (PROCESS, "ray-head")),
        ((RELEASE, "flight"), (JOB, "train-flight")),
        ((RELEASE, "flight"), (PROCESS, "inference")),
        ((RELEASE, "flight"), (PROCESS, "control")),
        ((RELEASE, "flight"), (PROCESS, "registry")),
        ((RELEASE, "flight"), (PROCESS, "feature-store")),
    ],
)
def test_waits_for_what_it_needs(platform: Recording, waiting: tuple[str, str], wanted: tuple[str, str]) -> None:
    entry, other = platform.of_type(waiting[0])[waiting[1]], platform.of_type(wanted[0])[wanted[1]]

    assert platform.waits_for(entry, other)


@pytest.mark.parametrize(
    ("waiting", "other"),
    [
        ("registry", "ray-head"),
        ("feature-store", "ray-head"),
        ("control", "ray-head"),
        ("prometheus", "ray-head"),
        ("prometheus", "registry"),
        ("inference", "registry"),
        ("inference", "feature-store"),
        ("inference", "control"),
    ],
)
def test_servers_start_together_where_they_can(platform: Recording, waiting: str, other: str) -> None:
    processes = platform.of_type(PROCESS)

    assert not platform.waits_for(processes[waiting], processes[other])


def test_data_is_taken_in_while_the_registry_starts(platform: Recording) -> None:
    assert not platform.waits_for(platform.of_type(JOB)["ingest-flight"], platform.of_type(PROCESS)["registry"])


def test_models_do_not_wait_for_each_other(platform: Recording) -> None:
    assert not platform.waits_for(platform.of_type(RELEASE)["loan"], platform.of_type(JOB)["train-flight"])


# --- secrets ----------------------------------------------------------------------------------------------------------


def leaks(value: Any, path: str, secrets: frozenset[str]) -> list[str]:
    """Paths at which a token stands in the open."""
    if any(path == secret or path.startswith((secret + ".", secret + "[")) for secret in secrets):
        return []
    if isinstance(value, dict):
        found = [leaks(member, f"{path}.{key}" if path else key, secrets) for key, member in value.items()]
        return [leak for members in found for leak in members]
    if isinstance(value, list):
        found = [leaks(member, f"{path}[{index}]", secrets) for index, member in enumerate(value)]
        return [leak for members in found for leak in members]
    return [path] if isinstance(value, str) and "TOKEN-" in value else []


def test_no_token_is_registered_in_the_open(platform: Recording) -> None:
    shown = {entry.urn: leaks(entry.inputs, "", entry.secrets) for entry in platform}
    assert {urn: paths for urn, paths in shown.items() if paths} == {}


def test_no_token_is_an_open_output(platform: Recording) -> None:
    shown = {entry.urn: leaks(entry.outputs or {}, "", entry.outputs_secret) for entry in platform}
    assert {urn: paths for urn, paths in shown.items() if paths} == {}


def test_the_check_for_leaks_finds_one() -> None:
    assert leaks({"a": {"b": ["x TOKEN-y"]}}, "", frozenset()) == ["a.b[0]"]
    assert leaks({"a": {"b": ["x TOKEN-y"]}}, "", frozenset({"a.b"})) == []


def test_no_token_is_on_a_command_line(platform: Recording) -> None:
    for entry in platform:
        assert "TOKEN-" not in json.dumps(entry.inputs.get("command", [])), entry.urn


def test_every_token_is_kept_secret_in_the_state(platform: Recording) -> None:
    tokens = platform.of_type(TOKEN)

    assert len(tokens) == 8
    for entry in tokens.values():
        assert "value" in entry.secret_outputs, entry.urn


def test_every_surface_has_a_token_of_its_own(platform: Recording) -> None:
    exported = platform.only("mlops:platform:Platform").outputs
    assert exported is not None
    tokens = {name: entry.get("token") for name, entry in exported["endpoints"].items()}

    assert tokens.pop("tracking") == tokens["registry"]
    assert tokens.pop("ledger") is None
    assert None not in tokens.values()
    assert len(set(tokens.values())) == len(tokens)


# --- exports ----------------------------------------------------------------------------------------------------------


def exports(recording: Recording) -> Registration:
    return recording.only("mlops:platform:Platform")


def test_endpoints_say_where_everything_is(platform: Recording) -> None:
    outputs = exports(platform).outputs
    assert outputs is not None

    assert {name: entry["url"] for name, entry in outputs["endpoints"].items() if name != "ledger"} == {
        "tracking": "http://127.0.0.1:5000",
        "registry": "http://127.0.0.1:5000",
        "featureStore": "http://127.0.0.1:6566",
        "inference": "http://127.0.0.1:8000",
        "control": "http://127.0.0.1:8090",
        "metrics": "http://127.0.0.1:9090",
        "dashboard": "http://127.0.0.1:8265",
    }
    assert outputs["endpoints"]["ledger"]["url"].startswith("sqlite:///")


def test_only_the_tokens_of_the_endpoints_are_secret(platform: Recording) -> None:
    entry = exports(platform)
    assert entry.outputs is not None

    with_token = [name for name, endpoint in entry.outputs["endpoints"].items() if "token" in endpoint]
    assert entry.outputs_secret == {f"endpoints.{name}.token" for name in with_token}


def test_models_say_where_they_are_served(platform: Recording) -> None:
    outputs = exports(platform).outputs
    assert outputs is not None

    assert outputs["models"]["loan"] == {
        "group": "loan",
        "url": "http://127.0.0.1:8000/v2/models/loan",
        "served": {"version": "1", "digest": "sha256:1"},
    }
    assert outputs["models"]["flight"]["group"] == "shared"


# --- layers, previews, mistakes ---------------------------------------------------------------------------------------


def test_a_foundation_without_releases_trains_and_releases_nothing(
    platform_args: PlatformArgs, run: Callable[..., Recording]
) -> None:
    recording = run(lambda: Platform("platform", dataclasses.replace(platform_args, releases=False)))

    assert recording.of_type(JOB) == {}
    assert recording.of_type(RELEASE) == {}
    assert "scheduler" not in recording.of_type(PROCESS)
    assert "inference" in recording.of_type(PROCESS)


def test_first_preview_runs_with_nothing_known_yet(platform_args: PlatformArgs) -> None:
    recording = record(lambda: Platform("platform", platform_args), lambda *_: {}, preview=True)

    release = recording.of_type(RELEASE)["flight"]
    assert release.inputs["candidate"] == UNKNOWN
    assert release.inputs["model"] == "flight"
    assert recording.of_type(PROCESS)["inference"].inputs["files"]["serving.json"] == UNKNOWN


def test_two_platforms_of_one_name_are_refused(platform_args: PlatformArgs, run: Callable[..., Recording]) -> None:
    def twice() -> None:
        Platform("platform", platform_args)
        Platform("platform", platform_args)

    with pytest.raises(DuplicateResourceError, match="mlops:platform:Platform::platform"):
        run(twice)


def test_everything_that_is_made_waits_for_the_gate(platform: Recording) -> None:
    gate = platform.only("blueprint:index:Gate")
    made = [entry for entry in platform if entry.type.startswith("blueprint:") and entry is not gate]

    assert len(made) > 10
    assert [entry.urn for entry in made if not platform.waits_for(entry, gate)] == []
    assert not gate.dependencies
