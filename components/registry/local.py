"""The registry on one machine: a supervised MLflow server over SQLite and a folder of artifacts."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.blueprint import Health, Process, ProcessArgs, Token
from components.registry import Registry, RegistryArgs
from components.site import LOOPBACK, SLOW_START, Site, url

PROCESS = "registry"
SERVER = "training.registry_server"
CODE = ("training/registry_server.py", "training/errors.py", "training/workspace.py")


@dataclass(frozen=True, kw_only=True)
class LocalRegistryArgs(RegistryArgs):
    """What the local registry needs besides."""

    site: Site
    port: int


class LocalRegistry(Registry):
    """A supervised MLflow server."""

    def __init__(self, name: str, args: LocalRegistryArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:registry:LocalRegistry", name, opts)
        site, port = args.site, args.port
        password = Token(f"{name}-password", opts=self.child()).value
        Process(
            PROCESS,
            ProcessArgs(
                name=PROCESS,
                home=site.home,
                command=site.module(SERVER, f"--host={LOOPBACK}", f"--port={port}"),
                directory=site.project,
                environment=site.environment() | {"MLOPS_REGISTRY_USERNAME": args.username},
                secret_environment={"MLOPS_REGISTRY_PASSWORD": password},
                ports={"registry": port},
                health=Health(http=f"{url(port)}/health", timeout_seconds=SLOW_START),
                triggers=site.triggers(*CODE),
            ),
            self.child(),
        )
        self.register(url=url(port), username=args.username, password=password, metrics_targets=[f"{LOOPBACK}:{port}"])
