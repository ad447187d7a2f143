"""Calls of AWS as moto's server recorded them, said as IAM judges them."""

import base64
import json
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from components.cloud import Cloud
from infra.rehearsal.moto import MotoServer
from policies.access import Call

FILE = "MOTO_RECORDER_FILEPATH"
"""Variable of moto's server that names the file of its recording."""
_OBJECTS = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "POST": "s3:PutObject"}
"""Actions on objects; a POST is a part of an upload in several parts, for which S3 asks for the same right."""

_PAGING = {"list-type", "prefix", "encoding-type", "continuation-token", "max-keys", "delimiter", "start-after"}
"""Parameters of the call that lists a bucket."""


def record(server: MotoServer) -> None:
    """Keep every call from now on."""
    urllib.request.urlopen(
        urllib.request.Request(f"{server.url}/moto-api/recorder/start-recording", b"", method="POST"), timeout=60
    ).close()


def recorded(text: str, cloud: Cloud) -> list[Call]:
    """The calls of a recording, those that IAM cannot tell apart once.

    Raises:
        ValueError: a call of a kind that is not known here: it would go unjudged.
    """
    found = {
        (call.action, call.resource, *sorted(call.context.items())): call
        for line in text.splitlines()
        for call in _calls(json.loads(line), cloud)
    }
    return list(found.values())


def _calls(entry: dict[str, Any], cloud: Cloud) -> Iterator[Call]:
    headers = {name.lower(): value for name, value in entry["headers"].items()}
    body = base64.b64decode(entry["body"]) if entry["body_encoded"] else str(entry["body"] or "").encode()
    service, _, action = headers.get("x-amz-target", "").partition(".")
    if service == "secretsmanager":
        yield Call(f"secretsmanager:{action}", _secret(json.loads(body)["SecretId"], cloud), {})
    elif service.startswith("DynamoDB"):
        stated = json.loads(body)
        for table in [stated["TableName"]] if "TableName" in stated else stated["RequestItems"]:
            yield Call(f"dynamodb:{action}", cloud.arn("dynamodb", f"table/{table}"), {})
    elif "/s3/" in headers.get("authorization", ""):
        yield _of_s3(entry["method"], urlsplit(entry["url"]), cloud)
    else:
        raise ValueError(f"{entry['method']} {entry['url']}: neither S3, DynamoDB nor Secrets Manager")


def _of_s3(method: str, url: Any, cloud: Cloud) -> Call:
    bucket, _, key = unquote(url.path).lstrip("/").partition("/")
    query = parse_qs(url.query, keep_blank_values=True)
    whole = f"arn:{cloud.partition}:s3:::{bucket}"
    if key:
        return Call("s3:DeleteObject" if method == "DELETE" else _OBJECTS[method], f"{whole}/{key}", {})
    if method == "GET" and "location" in query:
        return Call("s3:GetBucketLocation", whole, {})
    if method in ("GET", "HEAD") and not query.keys() - _PAGING:
        return Call("s3:ListBucket", whole, {"s3:prefix": query.get("prefix", [""])[0]})
    raise ValueError(f"{method} {url.path}?{url.query}: a call on a bucket that is not known here")


def _secret(name: str, cloud: Cloud) -> str:
    return cloud.arn("secretsmanager", f"secret:{name}-a1b2c3")
