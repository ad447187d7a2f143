"""Answer predictions before Ray Serve's own bookkeeping of a request, which costs as much as the prediction.

Ray Serve wraps the HTTP server of every replica in the middlewares that RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH
gives. Ours hands the protocol's paths straight to the replica's ingress; health checks and everything else go on to
Ray. A group that scales by ongoing requests does not use it, because Ray counts them in what is passed by. In processes
that hold no replica it does nothing.
"""

from typing import Any

from starlette.middleware import Middleware

from serving.asgi import Application, Receive, Scope, Send

_direct: Application | None = None


def serve_directly(application: Application) -> None:
    """Let this process's replica answer the protocol's paths by itself."""
    global _direct
    _direct = application


class FastPath:
    """The middleware: one comparison in front of what Ray does."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if _direct is not None and scope["type"] == "http" and scope["path"].startswith("/v2"):
            await _direct(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Return what RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serving.fastpath:middlewares names."""
    return [Middleware(FastPath)]
