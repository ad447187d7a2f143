"""Monitoring on one machine: a supervised Prometheus on the loopback interface, behind a password."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Output

from components.blueprint import Health, Process, ProcessArgs, Token
from components.monitoring import Monitoring, MonitoringArgs, Target, rule_files
from components.site import LOOPBACK, SLOW_START, Site, url

PROCESS = "prometheus"


@dataclass(frozen=True, kw_only=True)
class LocalMonitoringArgs(MonitoringArgs):
    """What local monitoring needs besides."""

    site: Site
    program: str
    """Path of the Prometheus binary."""
    port: int


def command(args: LocalMonitoringArgs) -> list[str]:
    """The command that runs Prometheus; it reads no environment and writes only to its data folder."""
    return [
        args.program,
        f"--config.file={args.site.file(PROCESS, 'prometheus.json')}",
        f"--web.config.file={args.site.file(PROCESS, 'web.json')}",
        f"--web.listen-address={LOOPBACK}:{args.port}",
        f"--storage.tsdb.path={args.site.data('prometheus')}",
        f"--storage.tsdb.retention.time={args.retention_days}d",
        "--log.level=warn",
    ]


def scrape_config(name: str, target: Target) -> dict[str, Any]:
    """One entry of `scrape_configs`."""
    entry: dict[str, Any] = {
        "job_name": name,
        "metrics_path": target.path,
        "static_configs": [{"targets": target.addresses}],
    }
    if target.username is not None:
        entry["basic_auth"] = {"username": target.username, "password": target.password}
    return entry


class LocalMonitoring(Monitoring):
    """A supervised Prometheus."""

    def __init__(self, name: str, args: LocalMonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("mlops:monitoring:LocalMonitoring", name, opts)
        site, port = args.site, args.port
        password = Token(f"{name}-password", opts=self.child()).value
        own = Target(addresses=[f"{LOOPBACK}:{port}"], username=args.username, password=password)
        rules = rule_files()
        config = {
            "global": {
                "scrape_interval": f"{args.scrape_seconds}s",
                "scrape_timeout": f"{min(args.scrape_seconds, 10)}s",
                "evaluation_interval": f"{args.scrape_seconds}s",
                "external_labels": {"stack": site.stack},
            },
            "rule_files": [site.file(PROCESS, file) for file in rules],
            "scrape_configs": [
                scrape_config(job, target) for job, target in sorted({**args.targets, "prometheus": own}.items())
            ],
        }
        Process(
            PROCESS,
            ProcessArgs(
                name=PROCESS,
                home=site.home,
                command=command(args),
                directory=site.home,
                # YAML readers take JSON.
                files={
                    "prometheus.json": Output.json_dumps(config),
                    "web.json": password.apply(lambda value: _web_config(args.username, value)),
                    **rules,
                },
                ports={"metrics": port},
                health=Health(
                    http=f"{url(port)}/-/ready",
                    headers={"authorization": password.apply(lambda value: _basic(args.username, value))},
                    timeout_seconds=SLOW_START,
                ),
                stop_timeout_seconds=15,
            ),
            self.child(),
        )
        self.register(url=url(port), username=args.username, password=password)


def _web_config(username: str, password: str) -> str:
    from components.monitoring.passwords import password_hash

    return json.dumps({"basic_auth_users": {username: password_hash(password)}})


def _basic(username: str, password: str) -> str:
    from base64 import b64encode

    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()
