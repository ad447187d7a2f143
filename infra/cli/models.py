"""`mlops predict`: use a served model."""

import json
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from infra.cli.context import DEFAULT_STACK, Context
from infra.cli.output import CommandFailed, print_json
from infra.cli.requests import inference_request


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command()(predict)


def predict(
    model: Annotated[str, typer.Argument(help="Name of the model, as in the stack's settings.")],
    payload: Annotated[
        str,
        typer.Option(
            "--json", help="One record, a list of records, or a V2 request; @FILE reads a file, - standard input."
        ),
    ],
    stack: Annotated[str, typer.Option("--stack", "-s", help="Stack that serves the model.")] = DEFAULT_STACK,
    version: Annotated[str, typer.Option("--version", help="Ask one version; default: whatever is stable.")] = "",
) -> None:
    """Ask a served model for a prediction and print its answer, a V2 response, as JSON."""
    path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
    with Context(stack).http("inference") as http:
        metadata = answer(http, "GET", path)
        request = inference_request(model, metadata, _read_payload(payload))
        # The answer then carries the id that labels are sent for.
        request.setdefault("id", uuid.uuid4().hex)
        print_json(answer(http, "POST", f"{path}/infer", request, identifier=str(request["id"])))


def _read_payload(text: str) -> Any:
    where = "--json"
    if text == "-":
        where, text = "standard input", sys.stdin.read()
    elif text.startswith("@"):
        where = text[1:]
        try:
            text = Path(where).read_text(encoding="utf-8")
        except OSError as error:
            raise CommandFailed(f"--json {text}: {error.strerror}: {where}", exit_code=2) from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CommandFailed(
            f"{where} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            hint='for example: --json \'{"field": 1.5, "other": "text"}\'',
            exit_code=2,
        ) from error


def answer(http: httpx.Client, method: str, path: str, body: Any = None, *, identifier: str = "") -> Any:
    """Ask the server and return its answer.

    Args:
        http: a client of the server.
        method: of the request.
        path: of the request.
        body: JSON data.
        identifier: the request's id.

    Raises:
        CommandFailed: it does not answer, or refuses.
    """
    try:
        response = http.request(method, path, json=body, headers={"x-request-id": identifier} if identifier else None)
    except httpx.HTTPError as error:
        raise CommandFailed(
            f"no answer from {http.base_url}{path}: {error}", hint="look at: ./mlops status, ./mlops logs inference"
        ) from error
    if response.is_success:
        return response.json()
    try:
        reason = response.json().get("error", response.text)
    except ValueError:
        reason = response.text
    raise CommandFailed(f"{method} {path} answered {response.status_code}: {reason}")
