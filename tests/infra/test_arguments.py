"""From settings to the arguments of the platform, and the look-up of what was installed before."""

from pathlib import Path

import pytest

from components.platform import PlatformArgs
from infra import installed
from infra.arguments import platform_args
from infra.engine.errors import EngineError
from infra.settings import Settings


def args(**stated: object) -> PlatformArgs:
    settings = Settings.model_validate(stated)
    return platform_args(settings, project=Path("/project"), stack="dev", python="/venv/python", prometheus="/prom")


def test_home_is_the_stacks_own_folder() -> None:
    assert args().target.site.home == "/project/.mlops/stacks/dev"


def test_ports_reach_the_server_that_takes_them() -> None:
    ports = args(ports={"rayGcs": 7001, "inference": 7002, "rayWorkersFirst": 30000}).target.ports

    assert ports.cluster.gcs == 7001
    assert ports.serving.inference == 7002
    assert (ports.cluster.workers_first, ports.cluster.workers_last) == (30000, 30399)


def test_no_port_reaches_two_servers() -> None:
    ports = args().target.ports
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


def test_strategy_keeps_its_steps() -> None:
    strategy = {"kind": "canary", "steps": [{"weight": 10, "minutes": 5}], "bakeMinutes": 30}
    (model,) = args(models={"churn": {"folder": "training/x", "strategy": strategy}}).models

    assert model.strategy.wire() == {"kind": "canary", "steps": [{"weight": 10, "minutes": 5}], "bakeMinutes": 30}


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
