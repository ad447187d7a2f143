"""Take labels at the ingress and hand them to control, which stores them before the caller is told that they count.

Nothing is kept here: while control is away the caller gets a 503 and sends the labels again, which is harmless because
each label counts once. So no label is lost between two processes, and a replica may die at any time. Predictions are
not held up: few requests with labels are under way at once, all of them beside the path of predictions.
"""

import asyncio
import logging
from typing import Any

import httpx
import orjson

from serving.protocol import feedback
from serving.protocol.errors import ProtocolError, shorten
from serving.table import Served

log = logging.getLogger(__name__)

_AGAIN = "send the labels again, each counts once"


class FeedbackDoor:
    """The way of labels to control."""

    def __init__(self, control: httpx.AsyncClient, *, seconds: float = 10.0, at_once: int = 4) -> None:
        """Make it.

        Args:
            control: a client of control with the replica's token.
            seconds: how long control may take.
            at_once: requests with labels under way in this replica; more are refused with a 503.
        """
        self._control, self._seconds, self._at_once = control, seconds, at_once
        self._under_way = 0

    async def take(self, served: Served, body: bytes) -> bytes:
        """Store the labels of a request and return the answer.

        Raises:
            ProtocolError: 4xx for what is wrong with them, 503 where they cannot be stored now.
        """
        if self._under_way >= self._at_once:
            raise ProtocolError(503, f"{self._under_way} requests with labels are under way already; {_AGAIN}")
        self._under_way += 1
        try:
            given = feedback.decode(served.name, served.model.signature, served.model.contract, body)
            answer = await self._send(served.name, given)
        finally:
            self._under_way -= 1
        return orjson.dumps({"model_name": served.name, "accepted": answer["accepted"], "known": answer["known"]})

    async def _send(self, name: str, given: feedback.Feedback) -> Any:
        content = orjson.dumps(
            {
                "labels": [[label.id, label.row, label.value] for label in given.labels],
                "output": given.truth.output,
                "tolerance": given.truth.tolerance,
            }
        )
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._control.post(f"/v1/models/{name}/labels", content=content)
            answer = response.json()
        except (TimeoutError, httpx.HTTPError, ValueError) as error:
            log.warning("labels of model %s: control does not answer: %s", name, str(error) or type(error).__name__)
            raise ProtocolError(503, f"the labels cannot be stored now; {_AGAIN}") from None
        if response.status_code == 200:
            return answer
        if response.status_code in (404, 409, 422):
            raise ProtocolError(409 if response.status_code == 422 else response.status_code, str(answer["error"]))
        log.warning("labels of model %s: control answered %d: %s", name, response.status_code, shorten(answer))
        raise ProtocolError(503, f"the labels cannot be stored now; {_AGAIN}")

    async def close(self) -> None:
        """Close the connections."""
        await self._control.aclose()
