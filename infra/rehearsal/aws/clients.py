"""Calls of the AWS API through boto3, against the endpoint of the rehearsal and never anywhere else."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.session
import jmespath
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.provider.resource import ResourceError

_MISSING = re.compile(r"NotFound|NoSuch|NonExist|DoesNotExist|NotExist|^404$")


class Aws:
    """The API of one region, by service, with credentials that only the rehearsal's server takes.

    Throttled calls are repeated by boto3's standard mode.
    """

    def __init__(self, endpoint: str, region: str, attempts: int = 8) -> None:
        self.endpoint, self.region = endpoint, region
        self._session = botocore.session.Session()
        self._session.set_credentials("rehearsal", "rehearsal")
        self._boto = boto3.Session(botocore_session=self._session, region_name=region)
        self._attempts = attempts
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        with self._lock:  # making clients is not safe in several threads
            if service not in self._clients:
                self._clients[service] = self._boto.client(
                    service,
                    endpoint_url=self.endpoint,
                    config=Config(
                        retries={"mode": "standard", "max_attempts": self._attempts},
                        max_pool_connections=64,
                        s3={"addressing_style": "path"},
                        parameter_validation=True,
                    ),
                )
            return self._clients[service]

    def shape(self, service: str, operation: str) -> Any:
        """Return the shape of an operation's input, from botocore's model."""
        client = self.client(service)
        return client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation]).input_shape

    def call(self, service: str, operation: str, arguments: dict[str, Any]) -> Any:
        """Call the API.

        Raises:
            MissingError: What the call is about does not exist.
            ResourceError: The API, or botocore's validation of the arguments, refused.
        """
        with _in_words(service, operation):
            answer = getattr(self.client(service), operation)(**arguments)
        answer.pop("ResponseMetadata", None)
        return answer

    def every(self, service: str, operation: str, member: str, arguments: dict[str, Any]) -> list[Any]:
        """Return the items of `member` (JMESPath) in all pages of a listing; errors as in `call`."""
        client = self.client(service)
        if not client.can_paginate(operation):
            return list(jmespath.search(member, self.call(service, operation, arguments)) or [])
        with _in_words(service, operation):
            pages = client.get_paginator(operation).paginate(**arguments)
            return [item for page in pages for item in jmespath.search(member, page) or []]


@contextmanager
def _in_words(service: str, operation: str) -> Iterator[None]:
    """Turn boto3's errors into ours."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        text = f"AWS refused {service} {operation}: {code}: {error.response.get('Error', {}).get('Message', '')}"
        raise MissingError(text) if _MISSING.search(code) else ResourceError(text) from error
    except BotoCoreError as error:
        raise ResourceError(f"{service} {operation} never left: {error}") from error


class MissingError(ResourceError):
    """What a call is about does not exist."""
