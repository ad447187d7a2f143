"""A fresh checkout of this project in a folder of its own, driven as a person would drive it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from infra.settings.model import Ports

PROJECT = Path(__file__).resolve().parents[2]


@dataclass
class Checkout:
    """A copy of the project's files; the virtual environment is shared, everything else is its own."""

    root: Path
    stack: str = "e2e"

    @classmethod
    def make(cls, root: Path) -> "Checkout":
        """Copy what git would hand to somebody who clones the working tree."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=PROJECT, capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            source = PROJECT / name
            if source.is_file():
                target = root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        _share_environment(root)
        return cls(root)

    @property
    def stack_file(self) -> Path:
        return self.root / "stacks" / f"Pulumi.{self.stack}.yaml"

    @property
    def home(self) -> Path:
        return self.root / ".mlops" / "stacks" / self.stack

    def configure(self, **settings: Any) -> None:
        """Write the stack file: the local baseline and what differs from it."""
        config = {"mlops:baseline": "local", **{f"mlops:{key}": value for key, value in settings.items()}}
        self.stack_file.write_text(yaml.safe_dump({"config": config}, sort_keys=False), encoding="utf-8")

    def run(self, *arguments: str, check: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run `./mlops …` here."""
        done = subprocess.run(
            ["./mlops", *arguments],
            cwd=self.root,
            env={key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            said = f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
            raise AssertionError(f"./mlops {' '.join(arguments)} ended with {done.returncode}\n{said}")
        return done

    def json(self, *arguments: str) -> Any:
        """Run a command and read the one document that it prints."""
        return json.loads(self.run(*arguments).stdout)

    def outputs(self) -> dict[str, Any]:
        """What the stack exports, secrets shown."""
        outputs = self.json("pulumi", "stack", "output", "--json", "--show-secrets", "-s", self.stack)
        assert isinstance(outputs, dict)
        return outputs

    def commands(self) -> dict[psutil.Process, str]:
        """Its processes with their arguments in one text, but for those that have just ended."""
        found = {}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                found[process] = " ".join(process.cmdline())
        return found

    def listening(self) -> set[tuple[str, int, int]]:
        """Where its processes listen: address, port, process."""
        found = set()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):  # jobs and replicas come and go
                found |= {
                    (connection.laddr.ip, connection.laddr.port, process.pid)
                    for connection in process.net_connections(kind="tcp")
                    if connection.status == psutil.CONN_LISTEN
                }
        return found

    def processes(self) -> list[psutil.Process]:
        """Every process that belongs to this checkout: it names the folder, lives in it, or carries its mark."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid():
                    continue
                if str(self.root) in " ".join(process.cmdline()) or str(self.root) in str(process.environ()):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


@dataclass(frozen=True)
class Platform:
    """A checkout that is up, and how to reach it."""

    checkout: Checkout
    endpoints: dict[str, dict[str, Any]]

    def http(self, name: str, *, authenticated: bool = True) -> httpx.Client:
        """A client for one endpoint, with its credentials unless told otherwise."""
        endpoint = self.endpoints[name]
        headers: dict[str, str] = {}
        auth = None
        if authenticated and endpoint.get("username"):
            auth = httpx.BasicAuth(endpoint["username"], endpoint["token"])
        elif authenticated and endpoint.get("token"):
            headers["authorization"] = f"Bearer {endpoint['token']}"
        return httpx.Client(base_url=endpoint["url"], headers=headers, auth=auth, timeout=30)


def _share_environment(root: Path) -> None:
    """Let the copy use this project's packages: an environment of links, with a stamp of its own."""
    ours, theirs = PROJECT / ".mlops" / "venv", root / ".mlops" / "venv"
    theirs.mkdir(parents=True)
    for entry in ours.iterdir():
        if not entry.name.startswith(".mlops"):
            (theirs / entry.name).symlink_to(entry)
    lines = (ours / ".mlops-ready").read_text("utf-8").splitlines()
    (theirs / ".mlops-ready").write_text("\n".join([str(root), *lines[1:]]) + "\n", "utf-8")


def free_offset(ports: Ports) -> int:
    """An offset for `ports.offset` at which every port of a stack is free now."""
    for offset in range(1000 + os.getpid() % 50 * 20, 9000, 60):
        taken = [port + offset for _, first, last in ports.ranges() for port in (first, last)]
        if all(_is_free(port) for port in taken):
            return offset
    raise AssertionError("no offset leaves all ports of a stack free")


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
