"""Starts the rehearsal's AWS server: moto with the gap layer around it, in a process of its own on loopback."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.rehearsal.children import child


@dataclass(frozen=True)
class MotoServer:
    """A running server.

    Attributes:
        url: Its address, for boto3's `endpoint_url` and AWS_ENDPOINT_URL.
    """

    url: str

    def ask(self, what: str, document: Any = None) -> Any:
        """Ask the layer around moto, see `infra.rehearsal.aws.gaps.application`; with a document, tell it."""
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.url}/_rehearsal/{what}", body)  # noqa: S310 - our own, on loopback
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")


@contextlib.contextmanager
def moto_server(
    log: Path, *, account: str = "123456789012", cluster: Mapping[str, str] | None = None
) -> Iterator[MotoServer]:
    """Run a server while the block runs; what it holds is gone afterwards.

    Args:
        log: Where its output goes.
        account: The account it plays.
        cluster: `endpoint` and `ca` (PEM) that EKS clusters are to have, those of the loopback API server.

    Raises:
        EngineError: It did not start.
    """
    environment = {
        "MOTO_ACCOUNT_ID": account,
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "MLOPS_REHEARSAL_CLUSTER": json.dumps(dict(cluster or {})),
    }
    with child("infra.rehearsal.aws.gaps", environment, log) as port:
        yield MotoServer(f"http://127.0.0.1:{port}")
