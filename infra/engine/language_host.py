"""Python language host for engines that come without one: the Pulumi engine built from Go modules.

The engine starts it once per operation through `pulumi-language-python` (a small script beside the engine, see
`tools`), reads a port from its first line of output and calls it over gRPC: which packages the program needs, run the
program, run a plugin that is written in Python (a policy pack, a provider). The official engine keeps its own host.

Time counts here, since every preview starts it twice: the generated messages are loaded without the Pulumi SDK around
them, and no packages are listed.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import types
from concurrent import futures
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROGRAM_SHOWED_ITS_ERROR = 32
"""Exit status of a program that has already told the engine what is wrong: no second message is needed."""

_STOP_SECONDS = 5.0
_PROGRAM = Path(__file__).with_name("program.py")
_BOOTSTRAP = Path(__file__).with_name("bootstrap.py")


def _load_messages() -> tuple[Any, Any, Any]:
    """Import Pulumi's generated modules with empty packages in place of `pulumi` and `pulumi.runtime`.

    Their real `__init__` modules import the whole SDK, which takes three times as long as everything else here.
    """
    spec = importlib.machinery.PathFinder.find_spec("pulumi")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the pulumi package is not installed in this environment: run ./mlops doctor")
    folder = Path(next(iter(spec.submodule_search_locations)))
    for name, path in (
        ("pulumi", folder),
        ("pulumi.runtime", folder / "runtime"),
        ("pulumi.runtime.proto", folder / "runtime" / "proto"),
    ):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

    return language_pb2, language_pb2_grpc, plugin_pb2


language_pb2, language_pb2_grpc, plugin_pb2 = _load_messages()

from google.protobuf import empty_pb2, json_format  # type: ignore[import-untyped]  # noqa: E402


class HostError(Exception):
    """A reason, for people, why something can't be run."""


def interpreter(root: str, options: Mapping[str, Any]) -> Path:
    """Return the Python that runs code of a project or plugin.

    Args:
        root: Folder of its Pulumi.yaml, PulumiPolicy.yaml or PulumiPlugin.yaml.
        options: `runtime.options` of that file; `virtualenv` is relative to `root`.

    Raises:
        HostError: `virtualenv` names a folder without an environment.
    """
    virtualenv = options.get("virtualenv")
    if not virtualenv:
        return Path(sys.executable)
    python = Path(root, str(virtualenv), "bin", "python")
    if not python.exists():
        raise HostError(
            f"runtime option virtualenv: {virtualenv!r} in {root} names no Python environment ({python} is missing). "
            "Run ./mlops doctor once: it makes the project's environment."
        )
    return python


def _activated(python: Path) -> dict[str, str]:
    """Return this process's environment with the virtual environment of `python` activated."""
    environment = dict(os.environ)
    if (python.parent.parent / "pyvenv.cfg").exists():
        environment["VIRTUAL_ENV"] = str(python.parent.parent)
        environment["PATH"] = f"{python.parent}{os.pathsep}{environment.get('PATH', '')}"
        environment.pop("PYTHONHOME", None)
    # Programs and packs start in every preview: never leave them without cached bytecode.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def program_request(request: Any) -> dict[str, Any]:
    """Return what `program.py` needs to know of a RunRequest.

    Config goes through a pipe and from there into the program's own environment, never into an argument list.
    """
    return {
        "program": str(Path(request.info.program_directory, request.info.entry_point)),
        "directory": request.pwd,
        "arguments": list(request.args),
        "project": request.project,
        "stack": request.stack,
        "organization": request.organization,
        "parallel": request.parallel,
        "dry_run": request.dryRun,
        "monitor": request.monitor_address,
        "root_directory": request.info.root_directory,
        "config": dict(request.config),
        "secret_keys": list(request.configSecretKeys),
    }


def plugin_command(python: Path, kind: str, directory: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line of a plugin in `directory`.

    `-u` because the engine waits for the line with the port, and a pipe would keep it in a buffer. A policy pack gets
    its folder last and is served by the SDK; any other plugin is run as a folder with a `__main__.py`.
    """
    if kind == "analyzer":
        return [str(python), "-u", "-m", "pulumi.policy", *arguments, directory]
    return [str(python), "-u", directory, *arguments]


def stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a child process and kill it when it has not ended after a few seconds."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class LanguageHost:
    """The RPCs of `pulumirpc.LanguageRuntime` that this project's engine calls; the rest answer "unimplemented"."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._children: set[subprocess.Popen[bytes]] = set()

    def __getattr__(self, name: str) -> Any:
        """Answer RPCs that this host does not offer (code generation, project templates)."""
        if name.startswith("_"):
            raise AttributeError(name)

        def unimplemented(_request: Any, context: Any) -> None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"this Python language host does not offer {name}")

        return unimplemented

    def Handshake(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Note the engine's address."""
        self._engine = request.engine_address or self._engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Say which version this is: none of its own."""
        return plugin_pb2.PluginInfo(version="0.0.0")

    def About(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Name the interpreter for `pulumi about`."""
        python = self._interpreter(request.info, context)
        version = subprocess.run([python, "-I", "-V"], capture_output=True, text=True, check=False).stdout.strip()
        return language_pb2.AboutResponse(executable=str(python), version=version.removeprefix("Python "))

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:  # noqa: N802
        """List the packages of the environment for `pulumi about`."""
        listing = (
            "import importlib.metadata as m, json;"
            "print(json.dumps(sorted({(d.name, d.version) for d in m.distributions() if d.name})))"
        )
        python = self._interpreter(request.info, context)
        done = subprocess.run([python, "-I", "-c", listing], capture_output=True, text=True, check=False)
        found = json.loads(done.stdout or "[]")
        return language_pb2.GetProgramDependenciesResponse(
            dependencies=[language_pb2.DependencyInfo(name=name, version=version) for name, version in found]
        )

    def GetRequiredPackages(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Name no packages.

        The engine would try to install each provider named here at the start of every operation, although a local
        stack uses none of them. It loads the ones that resources really ask for all the same.
        """
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Name no plugins, for the same reason (the form that older engines call)."""
        return language_pb2.GetRequiredPluginsResponse()

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Make the project's environment for `pulumi install`."""
        root = Path(request.info.root_directory)
        if root.resolve() != _BOOTSTRAP.parents[2]:
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{root} has no dependencies of its own: it uses the project's environment. Run ./mlops doctor.",
            )
        command = [sys.executable, "-I", str(_BOOTSTRAP)]
        with self._child(context, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            for line in process.stdout or ():
                yield language_pb2.InstallDependenciesResponse(stdout=line)
            code = process.wait()
        if code:
            context.abort(grpc.StatusCode.UNKNOWN, f"making the Python environment failed with exit status {code}")

    def Run(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run the program and wait for its end."""
        try:
            python = interpreter(request.info.root_directory, _options(request.info))
        except HostError as error:
            return language_pb2.RunResponse(error=str(error))
        command = [str(python), "-u", "-P", str(_PROGRAM)]
        with self._child(context, command, env=_activated(python), stdin=subprocess.PIPE) as process:
            with contextlib.suppress(BrokenPipeError):  # it ended before its orders came: its exit status says why
                process.communicate(json.dumps({**program_request(request), "engine": self._engine}).encode())
            code = process.wait()
        if code == PROGRAM_SHOWED_ITS_ERROR:
            return language_pb2.RunResponse(bail=True)
        if code < 0:
            return language_pb2.RunResponse(error=f"program was ended by {signal.Signals(-code).name}")
        return language_pb2.RunResponse(error=f"program exited with non-zero exit code: {code}" if code else "")

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Run a plugin written in Python and pass on what it prints until it ends."""
        directory = request.info.program_directory
        python = self._interpreter(request.info, context)
        environment = _activated(python)
        environment.update(entry.split("=", 1) for entry in request.env if "=" in entry)
        with self._child(
            context,
            plugin_command(python, request.kind, directory, request.args),
            cwd=directory if request.kind == "analyzer" else request.pwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            for stream, piece in _pieces(process):
                yield language_pb2.RunPluginResponse(**{stream: piece})
            yield language_pb2.RunPluginResponse(exitcode=process.wait())

    def Cancel(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Acknowledge: the engine says this at the end of every operation, and the end of each RPC stops its child."""
        return empty_pb2.Empty()

    def _interpreter(self, info: Any, context: Any) -> Path:
        try:
            return interpreter(info.root_directory, _options(info))
        except HostError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            raise

    @contextlib.contextmanager
    def _child(self, context: Any, command: list[str], **how: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Run a process that is stopped when its RPC ends or the engine goes away."""
        process = subprocess.Popen(command, **how)
        self._children.add(process)
        if not context.add_callback(lambda: stop(process)):
            stop(process)  # the RPC was over before the process began
        try:
            yield process
        finally:
            self._children.discard(process)

    def stop_children(self) -> None:
        """Stop every process that is still running."""
        for process in list(self._children):
            stop(process)


def _options(info: Any) -> dict[str, Any]:
    options: dict[str, Any] = json_format.MessageToDict(info.options)
    return options


def _pieces(process: subprocess.Popen[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield what a process prints, as it comes, until both streams have ended."""
    pieces: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()

    def pump(name: str, stream: IO[bytes]) -> None:
        while data := os.read(stream.fileno(), 65536):
            pieces.put((name, data))
        pieces.put((name, b""))

    open_streams = 0
    for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
        if stream is not None:
            open_streams += 1
            threading.Thread(target=pump, args=(name, stream), daemon=True).start()
    while open_streams:
        name, data = pieces.get()
        if data:
            yield name, data
        else:
            open_streams -= 1


def serve(arguments: Sequence[str]) -> None:
    """Serve until the engine goes away. The last argument is the engine's address."""
    ended = threading.Event()
    # The engine starts this process in a group of its own, so that a person's Ctrl-C does not reach it, and interrupts
    # the group when it is done with it; it waits five seconds for an answer.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=16),
        options=[("grpc.max_receive_message_length", 400 << 20), ("grpc.max_send_message_length", 400 << 20)],
    )
    host = LanguageHost(arguments[-1] if arguments else "")
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()

    def watch_engine() -> None:
        # The other end of standard input closes when the engine dies, however it dies.
        with contextlib.suppress(OSError):
            while os.read(0, 1):
                pass
        ended.set()

    threading.Thread(target=watch_engine, daemon=True).start()
    while not ended.wait(0.2):
        pass
    host.stop_children()
    server.stop(grace=0).wait(1)
    os._exit(0)  # threads that still wait for a child must not hold the engine's exit


if __name__ == "__main__":
    serve(sys.argv[1:])
