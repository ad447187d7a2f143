"""A throw-away project for the real engine: inline programs against the `blueprint` provider, in their own folder."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from pulumi import automation

from components.paths import short_directory
from infra.provider import marks, rendering, supervisor
from tests.quick_stack import QuickStack, brought_to_an_end

ROOT = Path(__file__).parents[2]

SERVER = """
import http.server, os, subprocess, sys
if os.environ.get("GRANDCHILD"):  # leaves its parent's group and session, as HAProxy and worker pools do
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"], start_new_session=True)
print("mode", os.environ.get("MODE"), flush=True)
if os.environ.get("MODE") == "broken":
    print("the secret is", os.environ.get("TOKEN"), flush=True)
    sys.exit("cannot open the database")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.environ.get("MODE") == "ill" else 200)
        self.end_headers()
        self.wfile.write(os.environ.get("MODE", "").encode())
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclass
class Outcome:
    """What became of an operation: the engine's output, and how often each kind of step was taken."""

    text: str
    changes: dict[str, int] = field(default_factory=dict)
    failed: bool = False


@dataclass
class Project:
    """One stack with a home of its own. `program` is what `up` and `preview` run; tests exchange it."""

    folder: Path
    pulumi: Path
    program: Callable[[], None] = lambda: None
    _quick: QuickStack | None = None

    @property
    def home(self) -> str:
        return str(self.folder / "home")

    @property
    def server(self) -> str:
        """A small HTTP server for supervised processes: port as argument, behaviour by the variable MODE."""
        path = self.folder / "server.py"
        path.write_text(SERVER)
        return str(path)

    def environment(self) -> dict[str, str]:
        return {
            "PULUMI_BACKEND_URL": f"file://{self.folder}/state",
            "PULUMI_HOME": str(self.folder / "pulumi"),
            "PULUMI_CONFIG_PASSPHRASE": "correct horse battery staple",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }

    def stack(self) -> automation.Stack:
        """The stack, for what is more than an operation."""
        options = automation.LocalWorkspaceOptions(work_dir=str(self._work()), env_vars=self.environment())
        return automation.create_or_select_stack("local", program=self.program, project_name="mlops", opts=options)

    def _work(self) -> Path:
        work = self.folder / "work"
        if not work.exists():
            work.mkdir()
            (self.folder / "state").mkdir()
            provider = f"{{name: blueprint, path: {ROOT / 'infra' / 'provider'}}}"
            (work / "Pulumi.yaml").write_text(f"name: mlops\nruntime: python\nplugins: {{providers: [{provider}]}}\n")
        return work

    def _run(self, operation: str, **options: Any) -> Outcome:
        lines: list[str] = []
        try:
            stack = self._quick = self._quick or QuickStack.of("local", self._work(), self.environment())
            with brought_to_an_end(self.program) as stack.workspace.program:
                result = getattr(stack, operation)(on_output=lines.append, color="never", **options)
        except automation.CommandError as error:
            return Outcome("\n".join([*lines, str(error)]), failed=True)
        changes = result.change_summary if operation == "preview" else result.summary.resource_changes or {}
        return Outcome("\n".join(lines), {str(getattr(key, "value", key)): count for key, count in changes.items()})

    def up(self) -> Outcome:
        """Bring it up. A failure shows what the engine said, and not what came of it three lines later."""
        outcome = self._run("up")
        assert not outcome.failed, outcome.text
        return outcome

    def failing_up(self) -> Outcome:
        """Bring up what cannot come up."""
        outcome = self._run("up")
        assert outcome.failed, outcome.text
        return outcome

    def preview(self) -> Outcome:
        return self._run("preview")

    def destroy(self) -> Outcome:
        outcome = self._run("destroy")
        assert not outcome.failed, outcome.text
        return outcome

    def up_in_background(self) -> tuple[threading.Thread, list[Outcome], psutil.Process]:
        """Start `up`; return its thread, where its outcome will be, and the engine's process."""
        before = {child.pid for child in psutil.Process().children()}
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(self._run("up")))
        thread.start()
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for child in psutil.Process().children():
                if child.pid not in before and "up" in _command(child):
                    return thread, outcomes, child
            time.sleep(0.02)
        raise AssertionError("the engine did not start")

    def state_text(self) -> str:
        """The whole state file, as it lies on disk."""
        return "".join(path.read_text() for path in (self.folder / "state").rglob("*.json"))

    def running(self, process: str = "") -> set[int]:
        """Processes that carry the mark of this project's home (or of one of its processes)."""
        mark = rendering.mark(self.home, process)
        return marks.members(f"{marks.PROCESS}={mark}")

    def supervisor_pid(self) -> int:
        return int(Path(self.home, "run", "supervisord.pid").read_text())

    def until(self, condition: Callable[[], object], seconds: float = 120) -> None:
        """Wait until `condition` holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the awaited state did not come"
            time.sleep(0.05)

    def clean(self) -> None:
        supervisor.shutdown(self.home)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def project(tmp_path: Path, pulumi_command: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A new project; whatever it started is gone afterwards."""
    folder = pulumi_command if pulumi_command.is_dir() else pulumi_command.parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    made = Project(tmp_path, pulumi_command)
    yield made
    made.clean()
    shutil.rmtree(short_directory(made.home), ignore_errors=True)
