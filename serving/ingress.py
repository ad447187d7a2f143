"""Answer HTTP requests to models: an ASGI application that knows nothing of Ray.

The hot path is one dictionary look-up, one JSON parse, one check per value and one future; everything else (tables,
metadata, codecs) is made when a model changes. Every failure is answered in the protocol's form, never by a traceback.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from serving.asgi import Message, Receive, Scope, Send
from serving.auth import Bearer
from serving.features import FeatureStore
from serving.feedback import FeedbackDoor
from serving.protocol import invocations
from serving.protocol.errors import ProtocolError, bad, error_body, shorten
from serving.protocol.feedback import MAX_BODY, REQUEST_ID
from serving.protocol.request import Decoded, Encoded
from serving.table import Served, Table

log = logging.getLogger(__name__)

_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_METADATA_ROUTE = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(ready|infer|invocations|feedback))?")


@dataclass(frozen=True, slots=True)
class Options:
    """Bounds: `max_body` in bytes, `seconds` that a body may take to arrive."""

    max_body: int = 8 * 1024 * 1024
    seconds: float = 10.0


class Ingress:
    """The ASGI application. `table` and `ready` are set by whoever loads models, in the event loop."""

    def __init__(
        self,
        options: Options,
        bearer: Bearer,
        features: FeatureStore | None = None,
        feedback: FeedbackDoor | None = None,
    ) -> None:
        self.options = options
        self.table = Table.build([])
        self.ready = False
        self._bearer = bearer
        self._features = features
        self._feedback = feedback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with its id in the answer's headers."""
        await self.answer(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send, *, show_id: bool = True) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await _other_protocol(scope["type"], receive, send)
            return
        started = time.perf_counter()
        identifier = token = encoding = None
        length: bytes | None = None
        json_length: bytes | None = None
        for key, value in scope["headers"]:
            if key == b"authorization":
                token = value
            elif key == b"x-request-id":
                identifier = value
            elif key == b"content-length":
                length = value
            elif key == b"inference-header-content-length":
                json_length = value
            elif key == b"content-encoding":
                encoding = value
        request_id = _request_id(identifier)
        status = 200
        head: bytes | None = None
        close = False
        path: str = scope["path"]
        try:
            self._authorize(token, path)
            table = self.table
            served = table.infer.get(path)
            protocol = served is not None
            if served is None:
                served = table.invocations.get(path)
            if served is not None and scope["method"] == "POST":
                body = await self._body(receive, length, encoding, self.options.max_body)
                encoded = await self._predict(
                    served, body, json_length, request_id, started, scope["headers"], v2=protocol
                )
                answer = encoded.body
                if encoded.json_length is not None:
                    head = str(encoded.json_length).encode()
            elif path in table.feedback and scope["method"] == "POST":
                body = await self._body(receive, length, encoding, min(self.options.max_body, MAX_BODY))
                answer = await self._labels(table.feedback[path], body)
            else:
                status, answer = self._document(path, scope["method"], table)
        except ProtocolError as error:
            status, answer = error.status, error_body(error.message)
            # The rest of a body that is too large is not read: the connection is of no more use.
            close = status == 413
        except Exception:
            log.exception("request %s to %s failed", request_id, shorten(path))
            status, answer = 500, error_body(f"internal error; it was logged under the request id {request_id}")
        headers = [
            _JSON if head is None else _BINARY,
            (b"content-length", str(len(answer)).encode()),
        ]
        if head is not None:
            headers.append((b"inference-header-content-length", head))
        if status != 200:
            headers += _extra(status, close=close)
        if show_id:
            headers.append((b"x-request-id", request_id.encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer})

    def _authorize(self, token: bytes | None, path: str) -> None:
        if not self._bearer.allows(token) and not path.startswith("/v2/health/"):
            raise ProtocolError(401, "this server needs the header authorization: Bearer <token>")

    async def _predict(
        self,
        served: Served,
        body: bytes,
        json_length: bytes | None,
        request_id: str,
        started: float,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        v2: bool,
    ) -> Encoded:
        codec = served.codec
        try:
            if v2:
                request = codec.decode(body, None if json_length is None else _length(json_length))
            else:
                request = invocations.decode(codec, body)
            if request.entities:
                await self._look_up(served, request)
        except ProtocolError as error:
            served.batcher.slot.count("refused" if error.status < 500 else "failed")
            raise
        if served.traffic is not None:
            return await served.traffic.answer(served, request, request_id, started, headers, size=len(body), v2=v2)
        try:
            outputs = (await served.batcher.submit(request, request_id, started)).outputs
        except ProtocolError as error:
            instead = served.instead
            if instead is None or error.status != 500:
                raise
            # Counted against the new version already; the caller need not notice.
            codec = instead.codec
            outputs = (await instead.batcher.submit(request, request_id, time.perf_counter())).outputs
        else:
            if served.mirror is not None:
                served.mirror.offer(served, request, request_id, outputs, len(body))
        return codec.encode(request, outputs) if v2 else invocations.encode(codec, outputs)

    async def _look_up(self, served: Served, request: Decoded) -> None:
        if all(column is not None for column in request.columns):
            return
        if self._features is None:
            raise ProtocolError(503, "this environment has no feature store; send the features themselves")
        await self._features.complete(served.codec, request)

    async def _labels(self, served: Served, body: bytes) -> bytes:
        if self._feedback is None:
            raise ProtocolError(503, "this server takes no labels")
        return await self._feedback.take(served, body)

    async def _body(self, receive: Receive, length: bytes | None, encoding: bytes | None, limit: int) -> bytes:
        if encoding is not None and encoding.lower() != b"identity":
            raise ProtocolError(415, "compressed bodies are not supported; send the body without content-encoding")
        if length is not None and length.isdigit() and int(length) > limit:
            raise ProtocolError(413, f"the body has {int(length)} bytes; at most {limit} are allowed")
        message = await receive()
        if not message.get("more_body"):
            body: bytes = message.get("body", b"")
            if len(body) > limit:
                raise ProtocolError(413, f"the body has {len(body)} bytes; at most {limit} are allowed")
            return body
        try:
            async with asyncio.timeout(self.options.seconds):
                return await _rest(message, receive, limit)
        except TimeoutError:
            raise ProtocolError(408, f"the body did not arrive within {self.options.seconds:g} s") from None

    def _document(self, path: str, method: str, table: Table) -> tuple[int, bytes]:
        """Answer what is no prediction: health, metadata, listing."""
        if path == "/v2/repository/index" and method == "POST":
            return 200, table.index
        if path == "/v2/health/live":
            found: bytes | None = b'{"live":true}'
        elif path == "/v2/health/ready":
            if not self.ready:
                return 503, orjson.dumps({"ready": False, "error": "the models of this group are not loaded yet"})
            found = b'{"ready":true}'
        else:
            found = table.documents.get(path)
        if found is not None:
            if method not in ("GET", "HEAD"):
                raise ProtocolError(405, f"{path} answers GET only")
            return 200, found
        if path in table.infer or path in table.invocations or path in table.feedback:
            raise ProtocolError(405, f"{path} answers POST only")
        raise self._unknown(path, table)

    @staticmethod
    def _unknown(path: str, table: Table) -> ProtocolError:
        match = _METADATA_ROUTE.fullmatch(path)
        if match is None:
            return ProtocolError(404, f"unknown path {shorten(path)}; models are at /v2/models/<name>/infer")
        name, version = match[1], match[2]
        if name in table.models and version is not None:
            return ProtocolError(404, f"model {name!r} has no version {shorten(version)} that is loaded here")
        names = ", ".join(table.models[:20]) or "none"
        return ProtocolError(404, f"unknown model {shorten(name)}; loaded here: {names}")


async def _rest(message: Message, receive: Receive, limit: int) -> bytes:
    parts = [message.get("body", b"")]
    size = len(parts[0])
    while message.get("more_body"):
        if size > limit:
            break
        message = await receive()
        if message["type"] == "http.disconnect":
            raise bad("the connection ended inside of the body")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > limit:
        raise ProtocolError(413, f"the body has more than the {limit} bytes that are allowed")
    return b"".join(parts)


def _length(header: bytes) -> int:
    if not header.isdigit() or len(header) > 12:
        raise bad(f"Inference-Header-Content-Length must be a number of bytes, got {shorten(header)}")
    return int(header)


def _request_id(given: bytes | None) -> str:
    """Take over the caller's id when it is harmless, else make one."""
    if given is not None:
        text = given.decode("latin-1")
        if REQUEST_ID.fullmatch(text):
            return text
    return secrets.token_hex(16)


def _extra(status: int, *, close: bool) -> list[tuple[bytes, bytes]]:
    headers = []
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 503:
        headers.append((b"retry-after", b"1"))
    if close:
        headers.append((b"connection", b"close"))
    return headers


async def _other_protocol(kind: str, receive: Receive, send: Send) -> None:
    """Acknowledge the start and end of the server; refuse WebSockets."""
    if kind == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1003, "reason": "HTTP only"})
        return
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
