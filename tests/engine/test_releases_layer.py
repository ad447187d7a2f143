"""Two stacks joined by a StackReference in a file backend: what the releases learn of their foundation."""

import dataclasses
from typing import Any

import pulumi
import pytest
from pulumi import automation

from components.blueprint import Trust
from components.gate import GateArgs
from components.models import Model
from components.platform import Platform, PlatformArgs
from components.releases_layer import ReleasesTarget

pytestmark = pytest.mark.engine

ADMIN = "the-admin-token-of-the-controller"
CONTROL = {
    "url": "https://127.0.0.1:1/proxy",
    "cluster": "acme-dev-main",
    "region": "eu-central-1",
    "authority": "Q0E=",
}
DIGEST = "sha256:" + "a" * 64
MANIFEST = {"model": "loan", "version": "2", "digest": DIGEST, "source": "s", "files": {"model.onnx": "b" * 64}}
ARGS = PlatformArgs(
    gate=GateArgs(environment="dev", stack="local", client="acme", target="aws"),
    target=ReleasesTarget(foundation="dev", trust=Trust(environment="dev", approval="rule", root="dev", signers="")),
    releases=True,
    models=[],
    wait=False,
    rollout_timeout_seconds=60,
)


def foundation(project: Any, **endpoints: Any) -> None:
    """Bring up a foundation of which only the outputs matter."""

    def program() -> None:
        token = pulumi.Output.secret(ADMIN)
        inference = {"url": "https://predict.example", "token": token}
        pulumi.export("endpoints", {"control": {**CONTROL, "token": token}, "inference": inference, **endpoints})

    project.stack()  # makes the project's folder
    options = automation.LocalWorkspaceOptions(work_dir=str(project.folder / "work"), env_vars=project.environment())
    made = automation.create_or_select_stack("dev", program=program, project_name="mlops", opts=options)
    made.up(on_output=lambda _: None)


def releases(project: Any, *models: Model) -> None:
    def program() -> None:
        for name, value in Platform("platform", dataclasses.replace(ARGS, models=models)).exports.items():
            pulumi.export(name, value)

    project.program = program


def test_outputs_of_the_foundation_reach_the_releases_and_its_token_stays_secret(project: Any) -> None:
    foundation(project)
    releases(project)

    project.up()

    outputs = project.stack().outputs()
    assert outputs["endpoints"].value["control"]["url"] == CONTROL["url"]
    assert outputs["endpoints"].value["control"]["token"] == ADMIN
    assert ADMIN not in project.state_text()
    assert CONTROL["url"] in project.state_text()
    project.destroy()


def test_a_release_is_previewed_against_the_foundations_controller(project: Any) -> None:
    foundation(project)
    releases(project, Model(name="loan", folder="training/loan", version="2", manifest=MANIFEST))

    outcome = project.preview()

    assert not outcome.failed, outcome.text
    assert "plan: version 2" in outcome.text
    assert ADMIN not in outcome.text


def test_a_foundation_that_was_never_brought_up_is_named(project: Any) -> None:
    releases(project)

    outcome = project.preview()

    assert outcome.failed
    assert "unknown stack" in outcome.text
    assert "/dev" in outcome.text


def test_a_foundation_without_workloads_has_no_controller_to_release_by(project: Any) -> None:
    foundation(project, control={"url": "", "token": ADMIN})
    releases(project, Model(name="loan", folder="training/loan", version="2", manifest=MANIFEST))

    outcome = project.preview()

    assert outcome.failed
    assert "the stack dev exports no endpoints.control" in outcome.text
    assert "bring it up first" in outcome.text
