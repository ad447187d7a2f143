"""The rollout controller, as the commands `release` and `audit` talk to it.

On the `local` target its address and token lie in its own configuration file, which only the owner can read: the
commands then need neither the engine nor the stack's lock, and work while an `up` is under way.
"""

import json
from typing import Any

import httpx

from components import paths
from infra.cli.context import Context
from infra.cli.output import CommandFailed

_PROCESS = "control"


class Control:
    """The controller of one stack."""

    def __init__(self, context: Context) -> None:
        self._stack = context.stack
        self._http = _client(context)

    def __enter__(self) -> "Control":
        return self

    def __exit__(self, *_details: object) -> None:
        self._http.close()

    def model(self, name: str) -> dict[str, Any]:
        """The controller's view of a model.

        Raises:
            CommandFailed: it does not know the model, or does not answer.
        """
        document: dict[str, Any] = self.ask("GET", f"/v1/models/{name}")
        return document

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Send a request; return its JSON answer, or text where it is not JSON.

        Raises:
            CommandFailed: with the controller's reason.
        """
        response = self._answer(method, path, body, query)
        if response.is_success:
            try:
                return response.json()
            except ValueError:
                return response.text
        raise CommandFailed(f"the rollout controller refuses, {response.status_code}: {_reason(response)}")

    def text(self, path: str) -> str:
        """Fetch a page as text.

        Raises:
            CommandFailed: with the controller's reason.
        """
        response = self._answer("GET", path, None, {})
        if not response.is_success:
            raise CommandFailed(f"the rollout controller refuses, {response.status_code}: {_reason(response)}")
        return response.text

    def knows(self, name: str) -> bool:
        """Whether the controller is up and knows the model."""
        try:
            return self._answer("GET", f"/v1/models/{name}", None, {}).is_success
        except CommandFailed:
            return False

    def _answer(self, method: str, path: str, body: Any, query: dict[str, Any]) -> httpx.Response:
        stated = {name: value for name, value in query.items() if value is not None}
        try:
            return self._http.request(method, path, json=body, params=stated)
        except httpx.HTTPError as error:
            raise CommandFailed(
                f"the rollout controller of stack {self._stack} does not answer: {error}",
                hint=f"look at: ./mlops status {self._stack}, ./mlops logs {_PROCESS} --stack {self._stack}",
            ) from error


def _client(context: Context) -> httpx.Client:
    file = paths.process_file(str(context.home), _PROCESS, "control.json")
    try:
        with open(file, encoding="utf-8") as stream:  # noqa: PTH123 - a plain path from the one place that knows it
            stated = json.load(stream)
    except (OSError, ValueError):
        return context.http("control")
    headers = {"authorization": f"Bearer {stated['adminToken']}"}
    return httpx.Client(base_url=f"http://{stated['host']}:{stated['port']}", headers=headers, timeout=30)


def _reason(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return response.text[:500]
    if isinstance(body, dict):
        if body.get("reasons"):
            return "; ".join(str(reason) for reason in body["reasons"])
        return str(body.get("error") or body.get("detail") or body)
    return str(body)
