"""`pulumi import` of a model release, under the real engine and with the real rollout controller."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pulumi
import pytest
import uvicorn
from pulumi import automation
from pulumi.automation._stack import ImportResource

from components.blueprint import Controller, ModelRelease, ModelReleaseArgs
from serving.control.app import Control
from serving.control.store import Store
from serving.runtime.artifact import content_digest

pytestmark = pytest.mark.engine

TOKEN = "letmein-letmein-letmein"
FILES = {"model.onnx": "1" * 64}
CANDIDATE = {
    "model": "churn",
    "version": "1",
    "digest": content_digest(FILES),
    "source": "models:/churn/1",
    "files": FILES,
    "passed": True,
}


@pytest.fixture
def controller(tmp_path: Path, free_port: int) -> Iterator[str]:
    """The address of a rollout controller whose only replica loads whatever it is told."""
    url, stop = f"http://127.0.0.1:{free_port}", threading.Event()

    def serve() -> None:
        store = Store(f"sqlite:///{tmp_path}/c.db", tmp_path / "s.json", "key", rollout_seconds=60, clock=time.time)
        config = uvicorn.Config(
            Control(store, TOKEN, "replica").application(), host="127.0.0.1", port=free_port, log_level="error"
        )
        server = uvicorn.Server(config)

        def end() -> None:
            stop.wait()
            server.should_exit = True

        threading.Thread(target=end, daemon=True).start()
        server.run()

    def replicate() -> None:
        with httpx.Client(base_url=url, headers={"authorization": "Bearer replica"}, timeout=60) as client:
            while not stop.wait(0.1):
                try:
                    models = client.get("/v1/state", params={"timeout": 0}).json()["models"]
                    client.post("/v1/replicas/r1", json=report(models)).raise_for_status()
                except httpx.TransportError:
                    continue

    threads = [threading.Thread(target=serve), threading.Thread(target=replicate)]
    for thread in threads:
        thread.start()
    yield url
    stop.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def stack(project: Any, controller: str, monkeypatch: pytest.MonkeyPatch) -> automation.Stack:
    """The stack, with what an import asks for besides: the controller, and the project that has a language host."""
    monkeypatch.setenv("MLOPS_CONTROL_URL", controller)
    monkeypatch.setenv("MLOPS_CONTROL_TOKEN", TOKEN)
    monkeypatch.setenv("MLOPS_PROJECT", str(Path(__file__).parents[2]))
    made: automation.Stack = project.stack()
    return made


def import_churn(stack: automation.Stack) -> None:
    urn = "urn:pulumi:local::mlops::mlops:inference:Releases::releases"
    churn = ImportResource(type="blueprint:index:ModelRelease", name="churn", id="churn", parent="releases")
    stack.import_resources(resources=[churn], name_table={"releases": urn}, generate_code=False, protect=False)


def report(models: dict[str, Any]) -> dict[str, Any]:
    told = {}
    for name, entry in models.items():
        versions = [entry[role] for role in ("stable", "previous", "next") if entry[role]]
        told[name] = {
            "serving": entry["stable"] and {key: entry["stable"][key] for key in ("version", "digest")},
            "versions": [{"version": one["version"], "digest": one["digest"], "error": None} for one in versions],
            "split": entry["split"]["generation"],
        }
    return {"group": "shared", "generation": 0, "models": told, "counters": []}


def program(url: str) -> None:
    args = ModelReleaseArgs(
        model="churn",
        version="latest",
        group="shared",
        controller=Controller(url=url, token=pulumi.Output.secret(TOKEN)),
        candidate=CANDIDATE,
    )
    parent = pulumi.ComponentResource("mlops:inference:Releases", "releases")
    pulumi.export("served", ModelRelease("churn", args, pulumi.ResourceOptions(parent=parent)).served)


def test_imported_release_is_what_the_controller_serves_and_up_goes_on_from_it(
    project: Any, controller: str, stack: automation.Stack
) -> None:
    project.program = lambda: program(controller)
    made = project.up()
    assert not made.failed, made.text
    deployment: Any = stack.export_stack()
    resources = deployment.deployment["resources"]
    before = next(one for one in resources if one["type"] == "blueprint:index:ModelRelease")
    deployment.deployment["resources"] = [one for one in resources if one is not before]
    stack.import_stack(deployment)

    import_churn(stack)

    imported: Any = stack.export_stack()
    resources = imported.deployment["resources"]
    after = next(one for one in resources if one["type"] == "blueprint:index:ModelRelease")
    assert after["id"] == "churn"
    assert after["outputs"]["served"] == {"version": "1", "digest": CANDIDATE["digest"]}
    assert {name: after["inputs"][name] for name in ("model", "version", "group", "strategy")} == {
        "model": "churn", "version": "latest", "group": "shared",
        "strategy": before["inputs"]["strategy"] | {"bakeMinutes": 0, "deadlines": {"start": 60, "swap": 60}},
    }  # fmt: skip
    assert {name: after["inputs"]["candidate"][name] for name in CANDIDATE} == CANDIDATE
    assert TOKEN not in project.state_text()
    again = project.up()
    assert not again.failed, again.text
    # The same resource as before: nothing was made anew, and nothing withdrawn.
    assert again.changes.keys() <= {"same", "update"}, again.text
    with httpx.Client(headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
        seen = client.get(f"{controller}/v1/models/churn").json()
    assert seen["served"] == {"version": "1", "digest": CANDIDATE["digest"]}
    assert seen["rollout"]["state"] == "promoted"


def test_import_of_what_is_not_served_says_so(project: Any, stack: automation.Stack) -> None:
    def parent() -> None:
        pulumi.ComponentResource("mlops:inference:Releases", "releases")

    project.program = parent
    assert not project.up().failed
    with pytest.raises(
        automation.CommandError, match="serves no version of 'churn', so that there is nothing to import"
    ):
        import_churn(stack)
