"""Online features by entity key, from the feature store's HTTP server, within a deadline.

The server is Feast's: POST /get-online-features. Features that the request itself gives are not overwritten.
"""

import asyncio
from typing import Any

import httpx

from serving.protocol.errors import ProtocolError, bad
from serving.protocol.request import Decoded
from serving.protocol.v2 import Codec


class FeatureStore:
    """A client of the feature store. One per replica; it keeps connections open."""

    def __init__(self, url: str, deadline: float, token: str | None = None, *, transport: Any = None) -> None:
        """Make it.

        Args:
            url: address of the feature server.
            deadline: seconds that one lookup may take, connecting included.
            token: bearer token, if the server wants one.
            transport: an httpx transport, for tests.
        """
        self._deadline = deadline
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=deadline, transport=transport)

    async def complete(self, codec: Codec, request: Decoded) -> None:
        """Fill the columns of `request` that are missing.

        Raises:
            ProtocolError: 503 when the store does not answer in time, 400 with the entity for which a feature is
                missing (unless the model takes nulls), 502 when the answer makes no sense.
        """
        lookup = codec.lookup
        if lookup is None:
            raise bad("the model looks up no features")
        try:
            async with asyncio.timeout(self._deadline):
                response = await self._client.post(
                    "/get-online-features",
                    json={"feature_service": lookup.service, "entities": dict(request.entities)},
                )
                response.raise_for_status()
                answer = response.json()
        except (TimeoutError, httpx.TimeoutException):
            limit = f"{self._deadline * 1000:g} ms"
            raise ProtocolError(503, f"the feature store did not answer within {limit}; try again") from None
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise ProtocolError(503, f"the feature store refused the lookup (status {status})") from None
        except (httpx.HTTPError, ValueError):
            raise ProtocolError(503, "the feature store cannot be reached; try again") from None
        found = _columns(answer, request.rows)
        for index, tensor in enumerate(codec.signature.inputs):
            if request.columns[index] is not None:
                continue
            feature = lookup.features[tensor.name]
            values = found.get(feature, found.get(feature.rsplit(":", 1)[-1]))
            if values is None:
                raise ProtocolError(502, f"the feature store gave no feature {feature!r} for input {tensor.name!r}")
            request.columns[index] = self._checked(codec, index, values, request)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @staticmethod
    def _checked(codec: Codec, index: int, values: list[Any], request: Decoded) -> list[Any]:
        tensor, lookup = codec.signature.inputs[index], codec.lookup
        kind = tensor.dtype.kind
        missing = [row for row, value in enumerate(values) if value is None]
        if missing:
            null: Any = {"f": float("nan"), "O": ""}.get(kind)
            if lookup is None or lookup.required or null is None:
                row = missing[0]
                keys = ", ".join(f"{name}={column[row]!r}" for name, column in request.entities.items())
                raise bad(f"input {tensor.name!r}, row {row}: the feature store has no value for {keys}")
            values = [null if value is None else value for value in values]
            # NaN for what is missing was allowed by the model's own contract: only the others are checked.
            present = [value for row, value in enumerate(values) if row not in set(missing)]
            codec.checks[index](present)
            return values
        if kind == "f":
            values = [float(value) if type(value) is int else value for value in values]
        elif kind in "iu":
            values = [int(value) if type(value) is float and value.is_integer() else value for value in values]
        return codec.checks[index](values)


def _columns(answer: Any, rows: int) -> dict[str, list[Any]]:
    """Read Feast's answer: names in `metadata.feature_names`, one entry of `results` each."""
    try:
        names = answer["metadata"]["feature_names"]
        columns = {str(name): list(result["values"]) for name, result in zip(names, answer["results"], strict=True)}
        for name, result in zip(names, answer["results"], strict=True):
            # A value beside a status that is not PRESENT (expired, not found) is not to be used.
            for row, status in enumerate(result.get("statuses", ())):
                if status != "PRESENT":
                    columns[str(name)][row] = None
    except (KeyError, TypeError, ValueError, IndexError):
        raise ProtocolError(502, "the feature store's answer cannot be read") from None
    if any(len(values) != rows for values in columns.values()):
        raise ProtocolError(502, "the feature store answered for another number of rows")
    return columns
