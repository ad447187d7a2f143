"""Custom resource definitions (and rights of controllers) for a rehearsal, taken out of Go modules: `ensure()`.

The controllers' own modules carry the definitions that their releases install. `go/crds/go.mod` says which versions,
`go/crds/go.sum` their only accepted content; the files come into the tool cache and never into the repository. They
are pinned to the versions of the charts that `components/` installs, since a chart's definitions and the objects that
we write have to fit each other.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import os
import re
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.engine import golang
from infra.engine.cache import Cache, Progress, silent
from infra.engine.catalogue import Version, parse_version
from infra.engine.errors import ToolError

_FOLDER = Path(__file__).with_name("go") / "crds"

_ENVOY = "charts/gateway-helm/crds/generated/gateway.envoyproxy.io_"
_PROMETHEUS = "example/prometheus-operator-crd/monitoring.coreos.com_"

FILES: Mapping[str, tuple[str, ...]] = {
    "github.com/aws/karpenter-provider-aws": ("pkg/apis/crds/karpenter.*.yaml",),
    "github.com/envoyproxy/gateway": (
        f"{_ENVOY}backendtrafficpolicies.yaml",
        f"{_ENVOY}clienttrafficpolicies.yaml",
        f"{_ENVOY}envoyproxies.yaml",
        f"{_ENVOY}httproutefilters.yaml",
        f"{_ENVOY}securitypolicies.yaml",
    ),
    "github.com/external-secrets/external-secrets": (
        "config/crds/bases/external-secrets.io_externalsecrets.yaml",
        "config/crds/bases/external-secrets.io_secretstores.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator": (
        f"{_PROMETHEUS}alertmanagerconfigs.yaml",
        f"{_PROMETHEUS}podmonitors.yaml",
        f"{_PROMETHEUS}probes.yaml",
        f"{_PROMETHEUS}prometheusrules.yaml",
        f"{_PROMETHEUS}servicemonitors.yaml",
    ),
    "github.com/ray-project/kuberay/ray-operator": (
        "config/crd/bases/ray.io_rayclusters.yaml",
        "config/crd/bases/ray.io_rayjobs.yaml",
        "config/crd/bases/ray.io_rayservices.yaml",
    ),
    "sigs.k8s.io/gateway-api": ("config/crd/standard/gateway.*.yaml",),
}
"""Patterns of the files that are taken, by module: the kinds that components declare.

Each costs the API server about a second of its start, so that those which only the charts themselves use stay out.
"""

RIGHTS: Mapping[str, tuple[str, ...]] = {
    "github.com/ray-project/kuberay/ray-operator": ("config/rbac/role.yaml",),
}
"""The same for what a controller may do, as its release grants it: deep rehearsals run it with these rights."""


@dataclass(frozen=True)
class Module:
    """A module and the only content of it that is accepted, as go.sum writes it."""

    path: str
    version: str
    sum: str


def modules(files: Mapping[str, tuple[str, ...]] | None = None) -> tuple[Module, ...]:
    """Return what go.mod and go.sum pin, for the modules of `files` (`FILES` by default).

    Raises:
        ToolError: One of them is not pinned.
    """
    versions = dict(re.findall(r"^\s(\S+) (v\S+)$", (_FOLDER / "go.mod").read_text(), re.MULTILINE))
    sums = dict(re.findall(r"^(\S+ v[^\s/]+) (h1:\S+)$", (_FOLDER / "go.sum").read_text(), re.MULTILINE))
    try:
        return tuple(
            Module(path, versions[path], sums[f"{path} {versions[path]}"])
            for path in (FILES if files is None else files)
        )
    except KeyError as error:
        raise ToolError(f"{_FOLDER}: go.mod or go.sum does not pin {error}") from error


def folder(cache: Cache, files: Mapping[str, tuple[str, ...]] | None = None) -> Path:
    """Return where the files (the definitions by default) lie once they are there."""
    wanted = FILES if files is None else files
    digest = hashlib.sha256(json.dumps([dict(wanted), [vars(module) for module in modules(wanted)]]).encode())
    return cache.tools / f"{'crds' if files is None else 'manifests'}-{digest.hexdigest()[:8]}"


def ensure(
    progress: Progress = silent,
    *,
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, tuple[str, ...]] | None = None,
) -> Path:
    """Return the folder with the definitions, a YAML file each, getting them first where they are missing.

    Args:
        progress: Told what goes on.
        environ: Environment to look at; this process's by default.
        files: Other files of the pinned modules instead, such as `RIGHTS`.

    Raises:
        ToolError: They can't be had, or a module's content is not the pinned one.
    """
    environ = os.environ if environ is None else environ
    cache = Cache(environ)
    target = folder(cache, files)
    if target.is_dir():
        return target
    with cache.exclusive(progress):
        if not target.is_dir():  # another process may have got them meanwhile
            progress("crds: getting manifests of controllers out of Go modules")
            go = golang.command(_go_version(), cache, progress, environ)
            with cache.installing(target) as draft:
                for module in modules(files):
                    archive = _fetch(module, go, cache, environ)
                    count = take(module, archive, draft, files)
                    progress(f"crds: {count} from {module.path} {module.version}")
    return target


def _go_version() -> Version:
    version = parse_version(re.search(r"^go (\S+)$", (_FOLDER / "go.mod").read_text(), re.MULTILINE)[1])  # type: ignore[index]
    assert version is not None
    return version


def _fetch(module: Module, go: Path, cache: Cache, environ: Mapping[str, str]) -> Path:
    """Return the module's archive in Go's module cache."""
    done = subprocess.run(
        [str(go), "mod", "download", "-json", f"{module.path}@{module.version}"],
        cwd=cache.build,  # outside of any module
        env=golang.variables(cache, go, environ) | {"GOFLAGS": "-modcacherw"},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {}
    # A module for a newer Go is fetched all the same, with an error beside it; nothing of it is built here.
    if "Zip" not in answer:
        raise ToolError(f"{module.path} {module.version} can't be had: {answer.get('Error') or done.stderr.strip()}")
    return Path(answer["Zip"])


def take(module: Module, archive: Path, target: Path, files: Mapping[str, tuple[str, ...]] | None = None) -> int:
    """Copy the wanted files of a module and return how many these are.

    Raises:
        ToolError: The archive is another than the pinned one, or has no such file.
    """
    patterns = (FILES if files is None else files)[module.path]
    with zipfile.ZipFile(archive) as content:
        found = content_sum(content)
        if found != module.sum:
            raise ToolError(f"{module.path} {module.version} has the checksum {found}, not the pinned {module.sum}")
        root = f"{module.path}@{module.version}/"
        count = 0
        for name in content.namelist():
            if any(fnmatch.fnmatchcase(name.removeprefix(root), pattern) for pattern in patterns):
                (target / Path(name).name).write_bytes(content.read(name))
                count += 1
    if not count:
        raise ToolError(f"{module.path} {module.version} has no file like {', '.join(patterns)}")
    return count


def content_sum(archive: zipfile.ZipFile) -> str:
    """Return a module's checksum as go.sum writes it: a hash over the files' names and hashes (golang.org/ref/mod)."""
    digest = hashlib.sha256()
    for name in sorted(archive.namelist()):
        digest.update(f"{hashlib.sha256(archive.read(name)).hexdigest()}  {name}\n".encode())
    return "h1:" + base64.b64encode(digest.digest()).decode()
