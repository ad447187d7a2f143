"""Ray Serve with a FastAPI ingress around the same model: `python -m benchmarks.peers.ray_fastapi MODEL PORT`.

Starts its own single-node Ray, prints `ready` and serves until its standard input closes. The environment decides
whether HAProxy and the throughput settings are on (`RAY_SERVE_ENABLE_HA_PROXY`, `RAY_SERVE_THROUGHPUT_OPTIMIZED`).
"""

import logging
import sys
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve

from benchmarks.peers.fastapi_onnx import InferenceRequest, InferenceResponse, infer, session

app = FastAPI()


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.1})
@serve.ingress(app)
class Peer:
    """One replica that holds the model in its process."""

    def __init__(self, path: str) -> None:
        self._model = session(path)

    @app.post("/v2/models/peer/infer")
    async def endpoint(self, request: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        return infer(self._model, request)


def main() -> None:
    """Serve until standard input closes."""
    path, port = sys.argv[1], int(sys.argv[2])
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    options: Any = {"host": "127.0.0.1", "port": port}
    serve.start(http_options=options)
    peer: Any = Peer
    serve.run(peer.bind(path), name="peer", route_prefix="/", logging_config={"enable_access_log": False})
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
