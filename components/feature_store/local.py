"""The feature store on one machine: Parquet offline, SQLite online, and a supervised server for lookups."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.blueprint import Health, Process, ProcessArgs, Token
from components.feature_store import FeatureStore, FeatureStoreArgs
from components.site import LOOPBACK, SLOW_START, Site, url

PROCESS = "feature-store"
SERVER = "training.features.server"
CODE = ("training/features", "training/errors.py", "training/spec.py", "training/workspace.py")


@dataclass(frozen=True, kw_only=True)
class LocalFeatureStoreArgs(FeatureStoreArgs):
    """What the local feature store needs besides."""

    site: Site
    port: int


class LocalFeatureStore(FeatureStore):
    """A supervised server over a Feast repository on disk."""

    def __init__(self, name: str, args: LocalFeatureStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:feature_store:LocalFeatureStore", name, opts)
        site, port = args.site, args.port
        token = Token(f"{name}-token", opts=self.child())
        Process(
            PROCESS,
            ProcessArgs(
                name=PROCESS,
                home=site.home,
                command=site.module(SERVER, f"--host={LOOPBACK}", f"--port={port}"),
                directory=site.project,
                environment=site.environment(),
                secret_environment={"MLOPS_FEATURE_STORE_TOKEN": token.value},
                ports={"featureStore": port},
                health=Health(http=f"{url(port)}/health", timeout_seconds=SLOW_START),
                triggers=site.triggers(*CODE),
            ),
            self.child(),
        )
        self.register(url=url(port), token=token.value, metrics_targets=[f"{LOOPBACK}:{port}"])
