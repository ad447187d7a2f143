"""The WSGI application: faults first, then what moto lacks, then moto; everything is counted.

Beside the API it answers `/_rehearsal/…`: `report` (counts), `faults` (takes the list of faults in force) and
`leftovers` (what the layer itself still holds).
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

from infra.rehearsal.aws.gaps import routing
from infra.rehearsal.aws.gaps.faults import Fault, Faults
from infra.rehearsal.aws.gaps.supplied import Refused, Supplied

Start = Callable[..., Any]
_CODE = re.compile(rb'<Code>([^<]+)</Code>|"__type"\s*:\s*"([^"]+)"|"code"\s*:\s*"([^"]+)"', re.IGNORECASE)


@runtime_checkable
class Closing(Protocol):
    """An answer that has to be closed."""

    def close(self) -> None:
        """Release what it holds."""
        ...


class Application:
    """Moto's application with the layer around it.

    Args:
        moto: The WSGI application of moto.
        supplied: What moto lacks.
    """

    def __init__(self, moto: Callable[[dict[str, Any], Start], Iterable[bytes]], supplied: Supplied) -> None:
        self._moto, self._supplied = moto, supplied
        self._faults = Faults()
        self._lock = threading.Lock()
        self._one_call = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._injected: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_rehearsal/"):
            return self._control(path.removeprefix("/_rehearsal/"), environ, start)
        body = b"" if "/s3/aws4_request" in environ.get("HTTP_AUTHORIZATION", "") else _read(environ)
        request = routing.identify(environ, body)
        if request is None:
            return self._moto(environ, start)
        self._count(self._calls, request.name)
        fault = self._faults.take(request.name)
        if fault is not None:
            self._count(self._injected, f"{request.name} {fault.code}")
            return _error(request, fault, start)
        with self._one_call:  # moto goes through tables while other calls change them
            if self._supplied.has(request, lambda: routing.arguments(request, body)):
                return self._supply(request, body, start)
            return self._pass_on(request, body, environ, start)

    def _supply(self, request: routing.Request, body: bytes, start: Start) -> Iterable[bytes]:
        self._count(self._answered, request.name)
        try:
            answer = self._supplied.answer(request, routing.arguments(request, body))
        except Refused as refused:
            self._count(self._refused, (request.name, refused.code))
            return _error(request, Fault(request.name, refused.code, str(refused), status=refused.status), start)
        return _json(answer, start)

    def _pass_on(self, request: routing.Request, body: bytes, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def remember(line: str, headers: list[tuple[str, str]], *_more: Any) -> Any:
            started.append((line, headers))
            return lambda _data: None

        answer = self._moto(environ, remember)
        content = b"".join(answer)
        if isinstance(answer, Closing):
            answer.close()
        status, headers = started[0]
        if status[:1] in "45":
            found = _CODE.search(content)
            code = next(group for group in found.groups() if group).decode() if found else status[:3]
            self._count(self._refused, (request.name, code.rpartition("#")[2]))
        elif self._supplied.concerns(request):
            document = json.loads(content) if content.strip() else {}
            completed = self._supplied.completed(request, routing.arguments(request, body), document)
            content = json.dumps(completed).encode()
            headers = [header for header in headers if header[0].lower() != "content-length"]
            headers.append(("Content-Length", str(len(content))))
        start(status, headers)
        return [content]

    def _count(self, counter: Counter[Any], key: Any) -> None:
        with self._lock:
            counter[key] += 1

    def _control(self, what: str, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        match what:
            case "report":
                with self._lock:
                    refused = [
                        {"operation": operation, "code": code, "times": times}
                        for (operation, code), times in sorted(self._refused.items())
                    ]
                    return _json(
                        {
                            "calls": dict(sorted(self._calls.items())),
                            "answered_by_the_layer": dict(sorted(self._answered.items())),
                            "injected": dict(sorted(self._injected.items())),
                            "refused": refused,
                        },
                        start,
                    )
            case "faults":
                self._faults.set(json.loads(_read(environ)))
                return _json({}, start)
            case "leftovers":
                return _json(self._supplied.leftovers(), start)
        return _json({}, start, "404 Not Found")


def _read(environ: dict[str, Any]) -> bytes:
    """Return the body and put it back."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body: bytes = environ["wsgi.input"].read(length) if length else b""
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _json(document: Any, start: Start, status: str = "200 OK") -> Iterable[bytes]:
    body = json.dumps(document, default=str).encode()
    start(status, [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))])
    return [body]


def _error(request: routing.Request, fault: Fault, start: Start) -> Iterable[bytes]:
    """Answer with an error in the words of the request's protocol."""
    if request.protocol in ("json", "rest-json"):
        document = {"__type": fault.code, "message": fault.message, "Message": fault.message}
        body, kind = json.dumps(document).encode(), "application/x-amz-json-1.1"
    else:
        inner = f"<Code>{fault.code}</Code><Message>{fault.message}</Message>"
        forms = {
            "ec2": f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>rehearsal</RequestID></Response>",
            "rest-xml": f"<Error>{inner}<RequestId>rehearsal</RequestId></Error>",
        }
        other = (
            f"<ErrorResponse><Error><Type>Sender</Type>{inner}</Error><RequestId>rehearsal</RequestId></ErrorResponse>"
        )
        body, kind = forms.get(request.protocol, other).encode(), "text/xml"
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("x-amzn-ErrorType", fault.code)]
    start(f"{fault.status} Error", headers)
    return [body]
