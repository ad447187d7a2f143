"""What is missing or odd on this machine, as a list of findings with what to do about each.

Looking changes nothing: nothing is installed, released or stopped, and nothing takes longer than a few seconds.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from components.paths import home_hash
from infra.engine import golang, locks, tools
from infra.engine.cache import Cache
from infra.engine.catalogue import CHECK_TOOLS, DEEP_TOOLS, PLATFORM_TOOLS, PULUMI, REHEARSAL_TOOLS, TOOLS, show
from infra.engine.environment import choose_backend

Status = Literal["ok", "warn", "fail"]

_GB = 10**9


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        status: ok; warn: works, but not as it should; fail: something will not work.
        found: What is the case.
        mend: What to do, empty when it is ok.
    """

    name: str
    status: Status
    found: str
    mend: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def run(project: Path, stack: str, *, ports: Mapping[str, int] | None = None) -> list[Check]:
    """Look at everything.

    Args:
        project: The project's folder.
        stack: Stack whose ports, lock and processes are looked at.
        ports: Its ports by setting name; read from its settings when not given.
    """
    checks: list[Callable[[], Iterator[Check]]] = [
        python,
        lambda: space(project),
        machine,
        kernel,
        limits,
        native_tools,
        lambda: sources(os.environ),
        lambda: state(project, stack),
        lambda: listening(project, stack, ports),
        lambda: leftovers(project, stack),
        clock,
    ]
    return [result for check in checks for result in check()]


def python() -> Iterator[Check]:
    """The interpreter and its module for environments."""
    supported = sys.version_info >= (3, 11)
    yield Check(
        "Python",
        "ok" if supported else "fail",
        f"{platform.python_version()} ({sys.executable})",
        "" if supported else "install Python 3.11 or newer; MLOPS_PYTHON=/path/to/python3 names one",
    )
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    yield Check(
        "venv module",
        "warn" if missing else "ok",
        f"missing: {', '.join(missing)}" if missing else "there",
        "needed to make the environment anew (Debian, Ubuntu: apt install python3-venv)" if missing else "",
    )


def space(project: Path) -> Iterator[Check]:
    """Free disk space where the project and the tools write."""
    cache = Cache()
    places = {"project": project, "tool cache": _existing(cache.root), "temporary files": Path("/tmp")}  # noqa: S108
    for name, path in places.items():
        free = shutil.disk_usage(path).free
        least, good = (0.2, 1) if name == "temporary files" else (2, 5)
        status: Status = "fail" if free < least * _GB else "warn" if free < good * _GB else "ok"
        yield Check(
            f"disk space: {name}",
            status,
            f"{free / _GB:.1f} GB free under {path}",
            "" if status == "ok" else f"free some: {good} GB are comfortable, below {least} GB things fail",
        )
    if cache.build.exists():
        yield Check(
            "unfinished builds",
            "warn",
            f"a tool's build is under way or was interrupted: {cache.build}, up to 6 GB",
            "./mlops up finishes it and removes them; or remove that folder",
        )


def machine() -> Iterator[Check]:
    """Memory and processors."""
    memory = psutil.virtual_memory()
    status: Status = "fail" if memory.total < 4 * _GB else "warn" if memory.available < 6 * _GB else "ok"
    yield Check(
        "memory",
        status,
        f"{memory.available / _GB:.1f} of {memory.total / _GB:.1f} GB available",
        "" if status == "ok" else "the local platform needs up to 6 GB: stop other programs, or switch layers off",
    )
    cores = len(os.sched_getaffinity(0))
    yield Check(
        "processors",
        "ok" if cores >= 2 else "warn",
        f"{cores} usable",
        "" if cores >= 2 else "2 are comfortable; with one, starting takes about twice as long",
    )


def kernel() -> Iterator[Check]:
    """What process supervision needs of the system."""
    readable = Path("/proc/self/environ").exists()
    yield Check(
        "/proc",
        "ok" if readable else "fail",
        "there" if readable else "missing",
        "" if readable else "process supervision needs it: run on Linux with /proc mounted",
    )
    setpriv = shutil.which("setpriv")
    works = False
    if setpriv:
        probe = [setpriv, "--pdeathsig", "KILL", "--", "true"]
        works = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    yield Check(
        "setpriv",
        "ok" if works else "fail",
        setpriv if works and setpriv else f"{setpriv} does not know --pdeathsig" if setpriv else "missing",
        "" if works else "install util-linux 2.33 or newer; without it, children could outlive their supervisor",
    )


def limits() -> Iterator[Check]:
    """Open files a process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ok = soft >= 4096 or soft == resource.RLIM_INFINITY
    yield Check(
        "open files",
        "ok" if ok else "warn",
        f"{soft} (at most {hard})",
        "" if ok else "raise it before ./mlops up, or many connections will fail: ulimit -n 65536",
    )


def native_tools() -> Iterator[Check]:
    """The tools: there, or how they would be had. Without those that only rehearsals use nothing is amiss."""
    for name in TOOLS:
        found = tools.find(name)
        if found:
            yield Check(name, "ok", f"{show(found.version)} in {found.folder} ({found.origin})")
        elif name in REHEARSAL_TOOLS:
            yield Check(name, "ok", "not there yet; only ./mlops rehearse uses it, and gets it")
        elif name in DEEP_TOOLS:
            yield Check(name, "ok", "not there yet; only ./mlops rehearse --deep uses it, and gets it (some minutes)")
        elif name in CHECK_TOOLS:
            yield Check(name, "ok", "not there yet; only ./mlops test uses it, and gets it")
        else:
            hint = "./mlops up gets it (a build from sources takes about 5 minutes)"
            yield Check(name, "warn", "not there yet", hint)


def sources(environ: Mapping[str, str]) -> Iterator[Check]:
    """Whether missing tools could be had, looked at only where one is missing."""
    if all(tools.find(name) for name in PLATFORM_TOOLS):
        return
    needed = max(tool.source.go_version for tool in PLATFORM_TOOLS.values())
    go, found = golang.from_path(needed, environ)
    yield Check("Go", "ok", found, "" if go else "not needed: its package on the Python registry is used")
    answers = {
        "Python package registry": _answers(*_pip_probe()),
        "official releases": PULUMI.release is not None and _answers(PULUMI.release.folder),
    }
    if go:
        answers["Go module proxy"] = _go_proxy_answers(go, environ)
    for name, ok in answers.items():
        needs = name != "official releases"
        yield Check(
            name,
            "ok" if ok else "warn",
            "answers" if ok else "no answer",
            "" if ok or not needs else "set a mirror or proxy (pip: PIP_INDEX_URL, Go: GOPROXY, both: https_proxy)",
        )


def _pip_probe() -> tuple[str, ...]:
    """Return the address that pip is configured to ask, if it can be told."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    settings = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in settings.splitlines():
        if line.partition("=")[0].endswith("index-url") and "extra" not in line:
            return (line.partition("=")[2].strip("'\""),)
    with contextlib.suppress(ImportError, AttributeError):
        from pip._internal.models.index import PyPI  # type: ignore[import-untyped,unused-ignore]

        return (str(PyPI.simple_url),)
    return ()


def _go_proxy_answers(go: Path, environ: Mapping[str, str]) -> bool:
    command = [str(go), "env", "GOPROXY"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(environ), cwd="/", check=False)
    return _answers(*(part for part in done.stdout.strip().replace("|", ",").split(",") if part.startswith("http")))


def _answers(*addresses: str) -> bool:
    """Say whether one of the addresses gives any answer at all within three seconds."""
    for address in addresses:
        if not address.startswith(("http://", "https://")):
            continue
        request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - scheme checked
        try:
            urllib.request.urlopen(request, timeout=3).close()  # noqa: S310 - scheme checked
        except urllib.error.HTTPError:
            return True  # an answer all the same
        except OSError:
            continue
        return True
    return False


def state(project: Path, stack: str) -> Iterator[Check]:
    """The backend, the passphrase and the stack's lock."""
    backend = choose_backend(project, os.environ)
    where = backend.url or (str(backend.folder) if backend.folder else "as logged in")
    yield Check("state", "ok", f"{where} (by {backend.chosen_by})")
    passphrase = project / ".mlops" / "passphrase"
    if passphrase.exists() and passphrase.stat().st_mode & 0o077:
        yield Check("passphrase", "fail", f"{passphrase} can be read by others", f"chmod 600 {passphrase}")
    if backend.folder is None:
        return
    for lock in locks.held(backend.folder, "mlops", stack):
        holder = lock.holder()
        yield Check(
            "lock",
            "warn",
            f"stack {stack} is locked by {lock}" + (", which no longer runs" if holder == "dead" else ""),
            {
                "dead": "the next ./mlops up releases it",
                "alive": "wait for it to end",
                "elsewhere": f"when it no longer runs there: ./mlops pulumi cancel --yes -s {stack}",
            }[holder],
        )


def listening(project: Path, stack: str, ports: Mapping[str, int] | None) -> Iterator[Check]:
    """Ports of the stack that somebody else has."""
    if ports is None:
        try:
            ports = _ports(project, stack)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the settings is the finding
            yield Check("settings", "fail", str(error), f"mend stacks/Pulumi.{stack}.yaml")
            return
    ours = own_processes(project, stack)
    owners = _listeners()
    taken = []
    for name, port in ports.items():
        owner = owners.get(port)
        if owner not in ours and not _free(port):
            taken.append(f"{port} ({name}) by {_describe(owner)}")
    yield Check(
        f"ports of {stack}",
        "fail" if taken else "ok",
        "taken: " + "; ".join(taken) if taken else f"{len(ports)} free or its own",
        f"stop that, or set other ports in stacks/Pulumi.{stack}.yaml (mlops:ports)" if taken else "",
    )


def _ports(project: Path, stack: str) -> dict[str, int]:
    from infra.settings import load_stack_file

    settings = load_stack_file(project / "stacks" / f"Pulumi.{stack}.yaml")
    # A range is judged by its first port: the programs that take ranges step over those that are in use.
    return {name: first for name, first, last in settings.ports.ranges() if first == last}


def _listeners() -> dict[int, int | None]:
    with contextlib.suppress(psutil.Error):
        return {
            connection.laddr.port: connection.pid
            for connection in psutil.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr
        }
    return {}


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _describe(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    with contextlib.suppress(psutil.Error):
        return f"process {pid} ({' '.join(psutil.Process(pid).cmdline())[:80]})"
    return f"process {pid}"


def own_processes(project: Path, stack: str) -> dict[int, str]:
    """Return the stack's processes: id and what the mark that each carries says it is."""
    mark = home_hash(str(project / ".mlops" / "stacks" / stack))
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            home, _, name = process.environ().get("MLOPS_PROCESS", "").partition("/")
            if home in (mark, f"{mark}-job"):
                found[process.pid] = name
    return found


def leftovers(project: Path, stack: str) -> Iterator[Check]:
    """Processes of the stack that nothing supervises any more."""
    running = own_processes(project, stack)
    if running and "supervisor" not in running.values():
        listed = ", ".join(f"{pid} ({name})" for pid, name in list(running.items())[:8])
        yield Check(
            "leftover processes",
            "warn",
            f"{len(running)} of stack {stack} without a supervisor: {listed}",
            f"./mlops up {stack} takes over from them, ./mlops down {stack} ends them",
        )
    else:
        yield Check("leftover processes", "ok", f"{len(running)} running, supervised" if running else "none")


def clock() -> Iterator[Check]:
    """Whether the clock can be right: certificates, tokens and approvals depend on it."""
    now = datetime.datetime.now(tz=datetime.UTC)
    code = Path(__file__).stat().st_mtime
    ahead = code - now.timestamp()
    if ahead > 86400:
        yield Check("clock", "fail", f"{now:%Y-%m-%d %H:%M} UTC lies before this code was written", "set the clock")
    else:
        yield Check("clock", "ok", f"{now:%Y-%m-%d %H:%M} UTC")


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
