"""What every command needs first: the project's folder, the stack's settings, and what the stack has exported."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from infra.cli.output import CommandFailed, say
from infra.engine.environment import engine_environment
from infra.engine.stack import Stack
from infra.settings import Settings, load_stack_file

PROJECT = Path(__file__).resolve().parents[2]
DEFAULT_STACK = "local"


@dataclass(frozen=True)
class Context:
    """One stack of this project as the command line sees it."""

    stack: str

    @property
    def home(self) -> Path:
        """The stack's runtime folder."""
        return PROJECT / ".mlops" / "stacks" / self.stack

    @property
    def stack_file(self) -> Path:
        """The stack's settings file."""
        return PROJECT / "stacks" / f"Pulumi.{self.stack}.yaml"

    @cached_property
    def settings(self) -> Settings:
        """The stack's settings; a bad or missing file raises `SettingsError`."""
        return load_stack_file(self.stack_file)

    @cached_property
    def engine(self) -> Stack:
        """The Pulumi engine, bound to this stack."""
        plugins = self.settings.target != "local"
        return Stack(PROJECT, self.stack, engine_environment(PROJECT, say, acquire_plugins=plugins), say)

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """What the stack exports, secrets included (they stay in this process)."""
        outputs = self.engine.outputs(show_secrets=True)
        if "endpoints" not in outputs:
            raise CommandFailed(
                f"stack {self.stack} is not up, so it has no endpoints", hint=f"run: ./mlops up {self.stack}"
            )
        return outputs

    def endpoint(self, name: str) -> dict[str, Any]:
        """One entry of the exported endpoints: `url` and, where the surface takes one, `token` or `username`."""
        endpoints: dict[str, dict[str, Any]] = self.outputs["endpoints"]
        if name not in endpoints:
            raise CommandFailed(f"stack {self.stack} has no endpoint {name!r}; it has {', '.join(sorted(endpoints))}")
        return endpoints[name]

    def http(self, name: str, *, timeout: float = 30.0) -> httpx.Client:
        """An HTTP client for an endpoint that already carries its credentials."""
        endpoint = self.endpoint(name)
        if endpoint.get("authority"):
            return self._proxied(endpoint, timeout)
        headers, auth = {}, None
        if endpoint.get("username"):
            auth = httpx.BasicAuth(endpoint["username"], endpoint.get("token") or "")
        elif endpoint.get("token"):
            headers["authorization"] = f"Bearer {endpoint['token']}"
        return httpx.Client(base_url=endpoint["url"], headers=headers, auth=auth, timeout=timeout)

    def _proxied(self, endpoint: dict[str, Any], timeout: float) -> httpx.Client:
        """A client for a cluster's API server, or, with a token, for what is behind a proxy of it."""
        from infra.provider import cluster_access
        from infra.provider.resource import ResourceError

        try:
            return httpx.Client(
                base_url=endpoint["url"],
                headers=cluster_access.headers(endpoint, endpoint.get("token")),
                verify=cluster_access.context(endpoint),
                timeout=timeout,
                trust_env=False,
            )
        except ResourceError as error:
            raise CommandFailed(str(error)) from None
