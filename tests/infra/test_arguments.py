"""From settings to the arguments of the platform, and the look-up of what was installed before."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from components.local import LocalTarget
from components.platform import PlatformArgs
from infra import installed
from infra.arguments import platform_args
from infra.engine.errors import EngineError
from infra.settings import Settings, SettingsError
from infra.settings import model as stated_model
from serving.rollout import strategy as rollout


def args(**stated: object) -> PlatformArgs:
    settings = Settings.model_validate(stated)
    return platform_args(settings, project=Path("/project"), stack="dev", python="/venv/python", prometheus="/prom")


def local(**stated: object) -> LocalTarget:
    target = args(**stated).target
    assert isinstance(target, LocalTarget)
    return target


def test_home_is_the_stacks_own_folder() -> None:
    assert local().site.home == "/project/.mlops/stacks/dev"


def test_ports_reach_the_server_that_takes_them() -> None:
    ports = local(ports={"rayGcs": 7001, "inference": 7002, "rayWorkersFirst": 30000}).ports

    assert ports.cluster.gcs == 7001
    assert ports.serving.inference == 7002
    assert (ports.cluster.workers_first, ports.cluster.workers_last) == (30000, 30399)


def test_no_port_reaches_two_servers() -> None:
    ports = local().ports
    listed = [
        ports.registry,
        ports.feature_store,
        ports.metrics,
        *vars(ports.cluster).values(),
        *vars(ports.serving).values(),
    ]

    assert len(listed) == len(set(listed))


def test_models_keep_what_the_stack_states() -> None:
    stated = {"folder": "training/x", "version": 3, "group": "own", "replicas": {"max": 2}, "params": {"depth": 3}}
    (model,) = args(models={"churn": stated}).models

    assert (model.name, model.folder, model.version, model.group) == ("churn", "training/x", "3", "churn")
    assert (model.replicas.max, model.replicas.target_ongoing) == (2, 32)
    assert model.params == {"depth": 3}


def wire(**strategy: object) -> dict[str, object]:
    (model,) = args(models={"churn": {"folder": "training/x", "strategy": strategy}}).models
    return model.strategy.wire()


def test_strategy_keeps_what_the_stack_states() -> None:
    stated = {
        "kind": "canary",
        "steps": [{"weight": 10, "minutes": 5, "gate": True}, {"weight": 50, "requests": 1000}],
        "bakeMinutes": 30,
        "then": "gate",
        "limits": {"latencyRatio": 2.0},
        "after": {"action": "alert"},
    }

    assert wire(**stated) == stated


def test_steps_that_are_not_stated_are_written_out_for_the_preview() -> None:
    steps = [{"weight": 5, "minutes": 5}, {"weight": 25, "minutes": 5}, {"weight": 50, "minutes": 5}]

    assert wire(kind="canary") == {"kind": "canary", "steps": steps, "bakeMinutes": 10}
    assert wire() == {"kind": "all-at-once", "bakeMinutes": 0}


@pytest.mark.parametrize("kind", get_args(rollout.Kind))
def test_rollout_reads_what_the_settings_write(kind: str) -> None:
    read = rollout.Strategy.model_validate(wire(kind=kind))

    assert read.plan() == rollout.Strategy.model_validate({"kind": kind}).plan()
    assert read.limits == rollout.Limits()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (stated_model.Limits, rollout.Limits),
        (stated_model.Evidence, rollout.Evidence),
        (stated_model.Deadlines, rollout.Deadlines),
        (stated_model.AfterPromotion, rollout.AfterPromotion),
        (stated_model.Step, rollout.Step),
    ],
)
def test_settings_document_the_defaults_that_the_rollout_has(ours: Any, theirs: Any) -> None:
    assert ours().model_dump(by_alias=True) == theirs().model_dump(by_alias=True)


def test_pinned_version_brings_its_manifest(tmp_path: Path) -> None:
    settings = Settings.model_validate({"models": {"churn": {"folder": "training/x", "version": 3}}})
    without = platform_args(settings, project=tmp_path, stack="dev", python="p", prometheus="p")
    file = tmp_path / "stacks" / "releases" / "churn" / "3.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("model: churn\n")

    assert without.models[0].manifest is None
    with pytest.raises(SettingsError, match=r"digest: Field required \(in stacks/releases/churn/3\.yaml\)"):
        platform_args(settings, project=tmp_path, stack="dev", python="p", prometheus="p")


def test_shadow_brings_its_manifest(tmp_path: Path) -> None:
    model = {"folder": "training/x", "shadows": [{"version": 3, "sample": 20}]}
    settings = Settings.model_validate({"models": {"churn": model}})
    without = platform_args(settings, project=tmp_path, stack="dev", python="p", prometheus="p")
    file = tmp_path / "stacks" / "releases" / "churn" / "3.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("model: churn\n")

    (shadow,) = without.models[0].shadows
    assert (shadow.version, shadow.sample, shadow.manifest) == ("3", 20, None)
    with pytest.raises(SettingsError, match=r"stacks/releases/churn/3\.yaml"):
        platform_args(settings, project=tmp_path, stack="dev", python="p", prometheus="p")


@pytest.mark.parametrize(
    "shadows", [[{"version": "latest"}], [{"version": 3, "sample": 0}], [{"version": 3}, {"version": "3"}]]
)
def test_shadows_that_make_no_sense_are_refused(shadows: list[dict[str, object]]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"models": {"churn": {"folder": "training/x", "shadows": shadows}}})


def test_models_come_in_the_order_of_their_names() -> None:
    stated = {name: {"folder": f"training/{name}"} for name in ("bb", "aa")}

    assert [model.name for model in args(models=stated).models] == ["aa", "bb"]


@pytest.mark.parametrize(("layers", "releases"), [(["foundation"], False), (["foundation", "releases"], True)])
def test_layers_say_whether_models_are_part_of_the_stack(layers: list[str], releases: bool) -> None:
    assert args(layers=layers).releases is releases


def test_prometheus_is_what_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "prometheus"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    for named in (tmp_path, program):
        monkeypatch.setenv("MLOPS_PROMETHEUS", str(named))
        assert installed.prometheus() == str(program)


def test_a_named_prometheus_that_cannot_be_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_PROMETHEUS", str(tmp_path / "nothing"))

    with pytest.raises(EngineError, match=r"MLOPS_PROMETHEUS = .*nothing"):
        installed.prometheus()


def test_missing_prometheus_says_what_gets_it_and_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLOPS_PROMETHEUS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EngineError, match=r"\./mlops up"):
        installed.prometheus()
    assert list(tmp_path.rglob("*prometheus*")) == []
