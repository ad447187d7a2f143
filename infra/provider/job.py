"""`Job`: a one-off run, keyed by what its result depends on; an existing result is adopted instead of repeated.

A job has a folder for each key, `data/jobs/<name>/<first 16 digits of the key>/`. The command writes `result.json`
there; that file is the record: whoever finds it never runs the job again. Where the command runs is a runner's matter
(`job_runners`).
"""

import hashlib
import json
import os.path
from collections.abc import Callable
from pathlib import Path

from components import paths
from infra.provider import files, rendering
from infra.provider.codec import UNKNOWN, Properties, is_known
from infra.provider.inputs import Input, absolute_path, between, check, http_address, name, one_of, text, variable
from infra.provider.job_runners import Run, run_as_child, run_on_ray
from infra.provider.resource import Call, CancelledError, Difference, ResourceError, changed

RESULT = "MLOPS_JOB_RESULT"
"""Variable that tells the command where to write its result."""

FIELDS = {
    "name": Input(rule=name, required=True),
    "home": Input(rule=absolute_path, required=True),
    "key": Input(each=Input(rule=text), required=True),
    "command": Input(items=Input(rule=text), required=True),
    "directory": Input(rule=absolute_path, required=True),
    "environment": Input(each=Input(rule=text), keys=variable, default={}),
    "secretEnvironment": Input(each=Input(rule=text, secret=True), keys=variable, default={}),
    "runner": Input(
        fields={
            "kind": Input(rule=one_of("process", "ray"), default="process"),
            "url": Input(rule=http_address),
            "token": Input(rule=text, secret=True),
        },
        default={"kind": "process"},
    ),
    "timeoutSeconds": Input(rule=between(1, 7 * 24 * 3600), default=1800),
}
_IDENTITY = ("name", "key", "command")


def digest(inputs: Properties) -> str:
    """Return the digest (hexadecimal) of all that a result depends on: name, key and command."""
    identity = {part: inputs[part] for part in _IDENTITY}
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def result_file(inputs: Properties) -> str:
    """Return where the job writes its result."""
    return os.path.join(folder(inputs), "result.json")  # noqa: PTH118


def folder(inputs: Properties) -> str:
    """Return the folder of this job and key."""
    return os.path.join(paths.job_directory(inputs["home"], inputs["name"]), digest(inputs)[:16])  # noqa: PTH118


def recorded(inputs: Properties) -> Properties | None:
    """Return the recorded result, None when there is none that is a JSON object."""
    content = files.read_text(result_file(inputs))
    try:
        result = json.loads(content) if content is not None else None
    except ValueError:
        return None
    return result if isinstance(result, dict) else None


class JobResource:
    """Runs a job where its runner says, unless its result is there."""

    def __init__(self, runners: dict[str, Callable[[Call, Run], None]] | None = None) -> None:
        self._runners = runners or {"process": run_as_child, "ray": run_on_ray}

    # --- decisions -------------------------------------------------------------------------------------------------

    def check(self, inputs: Properties) -> tuple[Properties, list[str]]:
        """Validate; see `resource.Resource`."""
        checked, problems = check(FIELDS, inputs)
        if checked.get("command") == []:
            problems.append("`command` is empty: it needs at least a program")
        runner = checked.get("runner")
        if isinstance(runner, dict) and runner.get("kind") == "ray" and "url" not in runner:
            problems.append("`runner.url` is missing: the kind `ray` needs the address of Ray's dashboard")
        return checked, problems

    def diff(self, old_inputs: Properties, state: Properties, inputs: Properties) -> Difference:
        """Replace for another name or home, update for anything else, and when the recorded result is gone."""
        different = changed(old_inputs, inputs)
        moved = tuple(name for name in different if name in ("name", "home"))
        if moved:
            return Difference(replace=moved)
        return Difference(update=different + (() if state.get("status") == "done" else ("status",)))

    def preview(self, inputs: Properties, state: Properties | None) -> Properties:
        """Promise the old result where nothing that it depends on changed; it is unknown otherwise."""
        same = state and all(is_known(inputs[part]) and inputs[part] == state.get(part) for part in _IDENTITY)
        if same and state and state.get("status") == "done":
            return {"result": state["result"], "adopted": True, "status": "done"}
        return {"result": UNKNOWN, "adopted": UNKNOWN, "status": "done"}

    # --- effects ---------------------------------------------------------------------------------------------------

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        """Adopt the result, or run the job."""
        return f"{inputs['name']}-{digest(inputs)[:16]}", self._obtain(call, inputs)

    def read(self, call: Call, inputs: Properties, state: Properties) -> Properties:
        """Look whether the recorded result is still there."""
        del call
        there = recorded(inputs) is not None
        return {
            "result": state.get("result"),
            "adopted": state.get("adopted", False),
            "status": "done" if there else "missing",
        }

    def update(self, call: Call, inputs: Properties, old_inputs: Properties, state: Properties) -> Properties:
        """Adopt the result, or run the job, for the new key."""
        del old_inputs, state
        return self._obtain(call, inputs)

    def delete(self, call: Call, inputs: Properties, state: Properties) -> None:
        """Leave the result where it is: the next `up` adopts it."""
        del call, inputs, state

    def _obtain(self, call: Call, inputs: Properties) -> Properties:
        result = recorded(inputs)
        if result is not None:
            call.progress("result adopted, nothing to run")
            return {"result": result, "adopted": True, "status": "done"}
        run = _prepare(inputs)
        try:
            self._runners[inputs["runner"]["kind"]](call, run)
        except CancelledError:
            raise  # on Ray it goes on and may still need its launch file, which it removes itself
        except BaseException:
            Path(run.launch_file).unlink(missing_ok=True)  # it holds secrets
            raise
        Path(run.launch_file).unlink(missing_ok=True)
        result = recorded(inputs)
        if result is None:
            raise ResourceError(
                f"{inputs['name']}: the command ended well but left no JSON object in {result_file(inputs)} "
                f"(the variable {RESULT} tells it where)"
            )
        return {"result": result, "adopted": False, "status": "done"}


def _prepare(inputs: Properties) -> Run:
    """Write what a runner needs: the key for people, the launch file (with secrets, 0600) for the wrapper."""
    where = folder(inputs)
    identity = {part: inputs[part] for part in _IDENTITY}
    files.write_private(os.path.join(where, "key.json"), json.dumps(identity, indent=1, sort_keys=True))  # noqa: PTH118
    launch_file = os.path.join(where, "launch.json")  # noqa: PTH118
    on_ray = inputs["runner"]["kind"] == "ray"
    environment = inputs["environment"] | {RESULT: result_file(inputs)}
    # On Ray a job belongs to Ray's processes and ends with them: no mark of its own, no death with the parent.
    document = rendering.launch_document(
        inputs | {"environment": environment},
        None if on_ray else rendering.job_mark(inputs["home"], inputs["name"]),
        None,
        die=not on_ray,
        once=True,
    )
    files.write_private(launch_file, document)
    return Run(
        name=inputs["name"],
        submission=f"{inputs['name']}-{digest(inputs)[:16]}",
        launch_file=launch_file,
        log_file=os.path.join(where, "job.log"),  # noqa: PTH118
        mark=rendering.job_mark(inputs["home"], inputs["name"]),
        environment=environment,
        runner=inputs["runner"],
        timeout=inputs["timeoutSeconds"],
    )
