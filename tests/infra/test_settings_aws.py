"""The settings of the `aws` target: the shipped stacks are right, and what AWS would refuse late is refused at once."""

import copy
import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.arguments_aws import pipelines_section, require_made
from infra.settings.aws import overlapping
from infra.settings.model import Settings
from infra.settings.problems import SettingsError
from infra.settings.sources import Layer, load_stack_file, resolve

PROJECT = Path(__file__).resolve().parents[2]
STACKS = ("dev", "staging", "prod")
MODEL = {"folder": "training/examples/flight_delay"}
STATED: dict[str, Any] = {
    "baseline": "dev",
    "client": "acme",
    "aws": {
        "accountId": "111111111111",
        "region": "eu-central-1",
        "network": {"cidr": "10.99.0.0/16"},
        "images": {"serving": "sha256:" + "a" * 64, "training": "sha256:" + "b" * 64},
        "inference": {
            "host": "predict.acme.example",
            "certificateSecret": "acme/tls",
            "jwt": {"issuer": "https://login.example", "keys": "https://login.example/keys", "audience": "predict"},
        },
        "monitoring": {"alarmMails": ["oncall@acme.example"]},
        "governance": {
            "owner": "ml",
            "costCenter": "1",
            "dataClass": "internal",
            "budgetUsd": 100,
            "budgetMails": ["ml@acme.example"],
        },
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(STATED)
    at = values
    *above, last = path.split(".")
    for key in above:
        at = at.setdefault(key, {})
    at[last] = value
    return values


def read(values: dict[str, Any]) -> Settings:
    return resolve(PROJECT, Layer("stacks/Pulumi.test.yaml", values))


@pytest.mark.parametrize("stack", STACKS)
def test_shipped_stacks_are_read(stack: str) -> None:
    settings = load_stack_file(PROJECT / "stacks" / f"Pulumi.{stack}.yaml")

    assert settings.aws is not None
    assert settings.environment == stack


def test_shipped_stacks_lie_apart() -> None:
    stacks = {name: load_stack_file(PROJECT / "stacks" / f"Pulumi.{name}.yaml").aws for name in STACKS}
    blocks = {name: aws.network.cidr for name, aws in stacks.items() if aws}

    assert len(blocks) == 3
    assert overlapping(blocks) == []
    accounts = {aws.account_id for aws in stacks.values() if aws}
    assert len(accounts) == 3


def test_production_protects_what_holds_state() -> None:
    prod = load_stack_file(PROJECT / "stacks" / "Pulumi.prod.yaml").aws

    assert prod is not None
    assert prod.protected
    assert prod.registry.database.multi_zone
    assert prod.network.nat == "per-zone"
    assert prod.governance.audit_mode == "compliance"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("aws.network.cidr", "10.0.0.0/24", "must be /16 to /20"),
        ("aws.network.cidr", "8.8.0.0/16", "private range"),
        ("aws.network.cidr", "10.0.0.1/16", "must be an IPv4 block"),
        ("aws.network.zones", 4, "2 to 3"),
        ("aws.accountId", "12345", "accountId"),
        ("aws.region", "europe", "region"),
        ("client", "a" * 32, "text of at most 31 characters"),
        ("environment", "acme-", "that matches"),
        ("environment", "two--hyphens", "that matches"),
        ("aws.images", None, "push the images"),
        ("aws.images.serving", "latest", "images.serving"),
        ("aws.pipelines.runner", "sagemaker", "--target sagemaker"),
        ("aws.kubernetes.pools.serving.gpus", 2, "gpus and gpuName go together"),
        ("aws.inference.workers.general.gpus", 1, "has none (gpus: 0)"),
        ("aws.inference.workers.general.pool", "fast", "kubernetes.pools has: platform, serving, training"),
        ("aws.kubernetes.publicCidrs", ["anywhere"], "not an IPv4 block"),
        ("aws.kubernetes.logDays", 8, "CloudWatch keeps logs"),
        ("aws.registry.database.maxStorageGib", 22, None),
        ("aws.registry.database.storageGib", 100, "at least 10 % above"),
        ("aws.pipelines.pool", None, "name the pool that training runs in"),
        ("aws.kubernetes.pools.serving.instanceTypes", ["huge"], "instanceTypes"),
        ("target", "local", "aws is stated, but target is local"),
    ],
)
def test_what_aws_would_refuse_late_is_refused_at_once(path: str, value: Any, said: str | None) -> None:
    if said is None:
        read(changed(path, value))
        return
    with pytest.raises(SettingsError) as error:
        read(changed(path, value))

    assert said in str(error.value)


def test_target_without_its_section_is_refused() -> None:
    with pytest.raises(SettingsError, match="needs the section aws"):
        read({"target": "aws"})


def test_without_images_nothing_but_workloads_is_missing() -> None:
    values = changed("aws.images", None)
    values["aws"]["workloads"] = False

    assert read(values).aws is not None


def test_overlap_is_found_whichever_block_is_the_larger() -> None:
    blocks = {"a": "10.0.0.0/16", "b": "10.0.128.0/20", "c": "10.1.0.0/16"}

    for names in itertools.permutations(blocks):
        assert overlapping({name: blocks[name] for name in names}) == [("a", "b")]


def test_a_network_that_overlaps_with_another_stacks_names_both() -> None:
    with pytest.raises(SettingsError) as caught:
        read(changed("aws.network.cidr", "10.22.128.0/20"))

    [problem] = caught.value.problems
    assert problem.path == "aws.network.cidr"
    assert problem.file == "stacks/Pulumi.test.yaml"
    assert problem.value == "10.22.128.0/20"
    assert "stacks/Pulumi.prod.yaml has 10.22.0.0/16" in problem.reason
    assert "dev" not in problem.reason


def test_another_stack_that_cannot_be_read_is_no_problem_of_this_one(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "stacks", tmp_path / "stacks")
    (tmp_path / "stacks" / "Pulumi.broken.yaml").write_text("config: {mlops:baseline: nowhere}")

    settings = resolve(tmp_path, Layer("stacks/Pulumi.test.yaml", STATED))

    assert settings.aws is not None
    assert settings.aws.network.cidr == "10.99.0.0/16"


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("layers", ["foundation", "releases"], "layers"),
        ("models.loan", {**MODEL, "version": "2"}, "models.loan.version"),
        ("models.loan", {**MODEL, "shadows": [{"version": "2"}]}, "models.loan.shadows"),
    ],
)
def test_what_nothing_makes_on_aws_yet_is_refused_and_not_left_out(path: str, value: Any, key: str) -> None:
    settings = read(changed(path, value))

    with pytest.raises(SettingsError) as caught:
        require_made(settings, "test")

    assert [problem.path for problem in caught.value.problems] == [key]


@pytest.mark.parametrize(("runner", "image"), [("ray", "training"), ("sagemaker", "sagemaker")])
def test_a_model_may_have_a_schedule_with_either_runner(runner: str, image: str) -> None:
    values = changed("aws.pipelines.runner", runner)
    values["aws"]["images"]["sagemaker"] = "sha256:" + "c" * 64
    values["models"] = {"loan": {**MODEL, "schedule": "0 3 * * 1", "params": {"trees": 5}, "seed": 3}}
    settings = read(values)
    assert settings.aws is not None

    require_made(settings, "test")
    section = pipelines_section(settings, settings.aws)

    assert (section.runner, section.digest) == (runner, values["aws"]["images"][image])
    [model] = section.models
    assert (model.schedule, model.params, model.seed) == ("0 3 * * 1", {"trees": 5}, 3)


@pytest.mark.parametrize("stack", STACKS)
def test_shipped_stacks_ask_for_nothing_that_is_not_made(stack: str) -> None:
    settings = load_stack_file(PROJECT / "stacks" / f"Pulumi.{stack}.yaml")

    require_made(settings, stack)
