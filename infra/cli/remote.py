"""What `status` can say of an environment in an account: its outputs, and which of them answer from this machine.

A private environment answers only inside its network, so that silence is no finding. Nodes and pods are asked of the
cluster's own tools; the command for it is part of what is shown.
"""

from __future__ import annotations

from typing import Any

import httpx

from infra.cli.context import Context
from infra.cloud import cloud_of
from infra.settings.aws import Aws

_SECONDS = 3.0


def document(context: Context, aws: Aws) -> dict[str, Any]:
    """Collect what is known of a stack.

    Returns:
        stack, account, region, endpoints (address and whether it answers; no secrets), and what was not looked at.
    """
    cloud = cloud_of(context.settings, aws, project=context.stack_file.parents[1], stack=context.stack)
    endpoints: dict[str, dict[str, Any]] = context.outputs["endpoints"]
    cluster = cloud.names.of("cluster", "main")
    kubeconfig = f"aws eks update-kubeconfig --region {cloud.region} --name {cluster}"
    return {
        "stack": context.stack,
        "account": cloud.account,
        "region": cloud.region,
        "endpoints": {
            name: {"url": entry["url"], "answers": answers(str(entry["url"]))}
            for name, entry in sorted(endpoints.items())
        },
        "notLookedAt": [
            f"nodes, pods: {kubeconfig} && kubectl get nodes,pods -A",
            f"drift: ./mlops pulumi preview -s {context.stack} --refresh --expect-no-changes",
        ],
    }


def answers(url: str) -> str:
    """Whether something answers at an address: `yes`, `not from here`, or nothing where it is no address of HTTP."""
    if not url.startswith(("http://", "https://")):
        return ""
    try:
        httpx.get(url, timeout=_SECONDS, verify=False)  # noqa: S501 - only whether, and nothing is sent
    except httpx.HTTPError:
        return "not from here"
    return "yes"
