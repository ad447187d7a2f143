"""The native tools that the project uses, with the versions and checksums it accepts.

A tool is taken from PATH when it is new enough, else from its official release when the checksum below fits, else
built from the Go modules whose exact sources `go/<tool>/go.sum` pins. Only rehearsals ask for the tools of
`REHEARSAL_TOOLS`, only deep ones for those of `DEEP_TOOLS`, only the project's own checks for those of `CHECK_TOOLS`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Version = tuple[int, ...]

_GO = Path(__file__).with_name("go")


def parse_version(text: str) -> Version | None:
    """Return the first `major.minor[.patch]` in a text, for example a tool's answer to `version`, or None."""
    found = re.search(r"(?<![\d.])v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part is not None) if found else None


def show(version: Version) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version))


@dataclass(frozen=True)
class Archive:
    """One file of an official release and the only content of it that is accepted."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Release:
    """An official release.

    Attributes:
        version: Its version.
        folder: Address that the archive's name is appended to.
        archives: The archive of each machine type, as `platform.machine()` names it.
        keep: Pattern of the file names (without folders) that are kept of an archive.
    """

    version: Version
    folder: str
    archives: Mapping[str, Archive]
    keep: str


@dataclass(frozen=True)
class GoSource:
    """How a tool is built from Go modules.

    Attributes:
        name: Folder under `go/` with the go.mod and go.sum of a module that only names the tool.
        module: Module that carries the tool's version.
        packages: Import paths of its programs; a program is named after the last part.
        version_variable: Variable that the program prints as its version; empty where it prints none.
        version: The version it then prints (module version 0.313.5 is Prometheus 3.13.5).
        version_prefix: What the program expects before the version's numbers.
        program: Name of its only program where that is not the last part of the import path.
    """

    name: str
    module: str
    packages: tuple[str, ...]
    version_variable: str
    version: Version
    version_prefix: str = ""
    program: str = ""

    @property
    def folder(self) -> Path:
        """Folder of its go.mod."""
        return _GO / self.name

    @cached_property
    def go_version(self) -> Version:
        """Oldest Go that builds it."""
        line = re.search(r"^go (\S+)$", (self.folder / "go.mod").read_text(), re.MULTILINE)
        version = parse_version(line[1]) if line else None
        if version is None:
            raise ValueError(f"{self.folder / 'go.mod'} has no go line")
        return version

    @property
    def linker_flags(self) -> str:
        """Flags that strip the program and tell it its version."""
        told = f" -X {self.version_variable}={self.version_prefix}{show(self.version)}" if self.version_variable else ""
        return f"-s -w{told}"

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over everything that decides what is built, Go itself aside."""
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((self.folder / name).read_bytes())
        digest.update(" ".join((*self.packages, self.linker_flags, *filter(None, [self.program]))).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Tool:
    """A native tool.

    Attributes:
        name: Its name here.
        programs: Executables it consists of, the main one first.
        minimum: Oldest version that is used from PATH.
        version_arguments: Arguments that make the main program print its version.
        tells_version: Whether it can: one that can't is never taken from PATH, and these arguments only try it.
        source: How to build it.
        mend: What a person can install instead.
        release: Its official release, if a checksum is known.
    """

    name: str
    programs: tuple[str, ...]
    minimum: Version
    version_arguments: tuple[str, ...]
    source: GoSource
    mend: str
    release: Release | None = None
    tells_version: bool = True


PULUMI = Tool(
    name="pulumi",
    programs=("pulumi",),
    minimum=(3, 250),
    version_arguments=("version",),
    source=GoSource(
        name="pulumi",
        module="github.com/pulumi/pulumi/pkg/v3",
        packages=("github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",),
        version_variable="github.com/pulumi/pulumi/sdk/v3/go/common/version.Version",
        version=(3, 250, 0),
    ),
    release=Release(
        version=(3, 253, 0),
        folder="https://get.pulumi.com/releases/sdk/",
        archives={
            "x86_64": Archive(
                "pulumi-v3.253.0-linux-x64.tar.gz",
                "33161e521280e6c77395a46344dba5ff9c118a90df254801e662087143b4d1ac",
            ),
            "aarch64": Archive(
                "pulumi-v3.253.0-linux-arm64.tar.gz",
                "7d7074d67a76139226c163b2365f14fbd45d8e2251362a2e10dc4602b3b577ea",
            ),
        },
        keep=r"pulumi|pulumi-[a-z-]*python[a-z-]*",
    ),
    mend="install Pulumi 3.250 or newer and put it on PATH",
)

PROMETHEUS = Tool(
    name="prometheus",
    programs=("prometheus", "promtool"),
    minimum=(3, 5),
    version_arguments=("--version",),
    source=GoSource(
        name="prometheus",
        module="github.com/prometheus/prometheus",
        packages=("github.com/prometheus/prometheus/cmd/prometheus", "github.com/prometheus/prometheus/cmd/promtool"),
        version_variable="github.com/prometheus/common/version.Version",
        version=(3, 13, 5),
    ),
    release=Release(
        version=(3, 13, 2),
        folder="https://github.com/prometheus/prometheus/releases/download/v3.13.2/",
        archives={
            "x86_64": Archive(
                "prometheus-3.13.2.linux-amd64.tar.gz",
                "0e8c4d46101bd025ea8265e377d2caabc57f488fc1be1c367f37db69ea41be6f",
            ),
            "aarch64": Archive(
                "prometheus-3.13.2.linux-arm64.tar.gz",
                "7cecb17a6f41d59814e1a0581a1f81f79051ad5973d1ecf39e23a9f747d6572a",
            ),
        },
        keep=r"prometheus|promtool",
    ),
    mend="install Prometheus 3.5 or newer (prometheus and promtool) and put both on PATH",
)

ETCD = Tool(
    name="etcd",
    programs=("etcd",),
    minimum=(3, 6),
    version_arguments=("--version",),
    source=GoSource(
        name="etcd",
        module="go.etcd.io/etcd/server/v3",
        packages=("go.etcd.io/etcd/server/v3",),
        version_variable="go.etcd.io/etcd/api/v3/version.Version",
        version=(3, 6, 16),
        program="etcd",
    ),
    mend="install etcd 3.6 or newer and put it on PATH",
)

KUBE_APISERVER = Tool(
    name="kube-apiserver",
    programs=("kube-apiserver",),
    minimum=(1, 35),
    version_arguments=("--version",),
    source=GoSource(
        name="kube-apiserver",
        module="k8s.io/kubernetes",
        packages=("k8s.io/kubernetes/cmd/kube-apiserver",),
        version_variable="k8s.io/component-base/version.gitVersion",
        version=(1, 35, 4),
        version_prefix="v",
    ),
    mend="install kube-apiserver 1.35 or newer and put it on PATH",
)

KUBERNETES_CONTROLLERS = Tool(
    name="kubernetes-controllers",
    programs=("kube-controller-manager", "kube-scheduler"),
    minimum=(1, 35),
    version_arguments=("--version",),
    source=GoSource(
        name="kubernetes-controllers",
        module="k8s.io/kubernetes",
        packages=("k8s.io/kubernetes/cmd/kube-controller-manager", "k8s.io/kubernetes/cmd/kube-scheduler"),
        version_variable="k8s.io/component-base/version.gitVersion",
        version=(1, 35, 4),
        version_prefix="v",
    ),
    mend="install kube-controller-manager and kube-scheduler 1.35 or newer side by side and put both on PATH",
)

RAY_OPERATOR = Tool(
    name="ray-operator",
    programs=("ray-operator",),
    minimum=(1, 6, 2),
    version_arguments=("-h",),
    tells_version=False,
    source=GoSource(
        name="ray-operator",
        module="github.com/ray-project/kuberay/ray-operator",
        packages=("github.com/ray-project/kuberay/ray-operator",),
        version_variable="",
        version=(1, 6, 2),
    ),
    mend="let it be built: KubeRay's operator does not tell its version, so that none on PATH is trusted",
)

KWOK = Tool(
    name="kwok",
    programs=("kwok",),
    minimum=(0, 8),
    version_arguments=("--version",),
    source=GoSource(
        name="kwok",
        module="sigs.k8s.io/kwok",
        packages=("sigs.k8s.io/kwok/cmd/kwok",),
        version_variable="sigs.k8s.io/kwok/pkg/consts.Version",
        version=(0, 8, 0),
    ),
    mend="install kwok 0.8 or newer and put it on PATH",
)

ACTIONLINT = Tool(
    name="actionlint",
    programs=("actionlint",),
    minimum=(1, 7),
    version_arguments=("-version",),
    source=GoSource(
        name="actionlint",
        module="github.com/rhysd/actionlint",
        packages=("github.com/rhysd/actionlint/cmd/actionlint",),
        version_variable="github.com/rhysd/actionlint.version",
        version=(1, 7, 12),
    ),
    mend="install actionlint 1.7 or newer and put it on PATH",
)

PLATFORM_TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in (PULUMI, PROMETHEUS)}
REHEARSAL_TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in (ETCD, KUBE_APISERVER)}
DEEP_TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in (KUBERNETES_CONTROLLERS, RAY_OPERATOR, KWOK)}
CHECK_TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in (ACTIONLINT,)}
TOOLS: Mapping[str, Tool] = {**PLATFORM_TOOLS, **REHEARSAL_TOOLS, **DEEP_TOOLS, **CHECK_TOOLS}
