"""Small model artifacts, built once for all tests of serving."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, save_model

from infra.rehearsal.kubernetes.servers import held_ports
from policies.releases.approval import sign_artifact
from policies.releases.keys import key_signer, make_demo_keys, make_key, read_private_key
from serving.runtime.contract import Contract, FeatureLookup, OutputSource
from serving.runtime.signature import Signature, Tensor
from serving.state import Release

SIGNATURE = Signature(
    inputs=(Tensor("distance", "FP32"), Tensor("hour", "INT64"), Tensor("carrier", "BYTES")),
    outputs=(Tensor("label", "INT64"), Tensor("probability", "FP32")),
)


def write_artifact(folder: Path, bias: float = 0.0, **contract: Any) -> Path:
    """Write an artifact: probability = distance / 1000 + bias, 0.25 more for UA; label = probability > 0.5."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes = [
        helper.make_node("LabelEncoder", ["carrier"], ["extra"], domain="ai.onnx.ml", keys_strings=["UA"],
                         values_floats=[0.25], default_float=0.0),
        helper.make_node("Cast", ["hour"], ["hourf"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["hourf", "zero"], ["nothing"]),
        helper.make_node("Div", ["distance", "thousand"], ["share"]),
        helper.make_node("Add", ["share", "extra"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["biased"]),
        helper.make_node("Add", ["biased", "nothing"], ["whole"]),
        helper.make_node("Clip", ["whole", "low", "high"], ["one"]),
        helper.make_node("Sub", ["high1", "one"], ["other"]),
        helper.make_node("Concat", ["other", "one"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]  # fmt: skip

    def constant(name: str, value: float, dims: list[int]) -> Any:
        return helper.make_tensor(name, TensorProto.FLOAT, dims, [value])

    graph = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info("distance", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("hour", TensorProto.INT64, [None, 1]),
            helper.make_tensor_value_info("carrier", TensorProto.STRING, [None, 1]),
        ],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        [
            constant("zero", 0.0, [1]),
            constant("thousand", 1000.0, [1]),
            constant("bias", bias, [1]),
            constant("low", 0.0, []),
            constant("high", 1.0, []),
            constant("high1", 1.0, [1]),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    save_model(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(folder / "model.onnx"))
    SIGNATURE.write(folder)
    Contract(kind="onnx", outputs={"probability": OutputSource("probabilities", 1)}, **contract).write(folder)
    (folder / "requirements.txt").write_text("onnxruntime\n")
    return folder


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three inputs; read only."""
    return write_artifact(tmp_path_factory.mktemp("artifact") / "small")


@pytest.fixture
def make_artifact(tmp_path: Path) -> Callable[..., Path]:
    """A maker of artifacts in a folder of the test: make_artifact(name, bias=…, capture=…)."""

    def make(name: str = "model", bias: float = 0.0, **contract: Any) -> Path:
        return write_artifact(tmp_path / name, bias, **contract)

    return make


@pytest.fixture
def lookup() -> FeatureLookup:
    """Features of a route: `distance` comes from the store."""
    return FeatureLookup("routes", {"route": "BYTES"}, {"distance": "routes:distance"})


@pytest.fixture
def rows() -> dict[str, np.ndarray[Any, Any]]:
    """Two rows for the small model: probabilities 0.1 and 0.85."""
    return {
        "distance": np.array([100, 600], np.float32),
        "hour": np.array([9, 17], np.int64),
        "carrier": np.array(["AA", "UA"], object),
    }


class Signing:
    """A trainer who is trusted, one who is not, and what a replica's configuration says of them."""

    def __init__(self, folder: Path) -> None:
        self.keys = make_demo_keys(folder / "keys", "local")
        self._stranger = make_key(folder / "stranger", "trainer@local")
        self.roots = {"local": self.keys.trust_root}
        self.config = {"signature": "required", "roots": [{"name": "local", "path": str(self.keys.allowed_signers)}]}

    def sign(self, model: str, release: Release, *, stranger: bool = False) -> Release:
        """Return the release with the trainer's signature, or with that of somebody who says to be the trainer."""
        key = self._stranger if stranger else read_private_key(self.keys.trainer.key)
        signature = sign_artifact(model, release.digest, "trainer@local", "local", key_signer(key))
        return replace(release, signature=signature, trained_at=datetime(2026, 11, 20, 9, 0, tzinfo=UTC))

    def forget_trainer(self) -> None:
        """Remove the trainer's key from the trust root that replicas read."""
        lines = self.keys.allowed_signers.read_text().splitlines(keepends=True)
        self.keys.allowed_signers.write_text("".join(line for line in lines if not line.startswith("trainer")))


@pytest.fixture
def signing(tmp_path: Path) -> Signing:
    """Demo keys of an environment called `local`."""
    return Signing(tmp_path)


class S3:
    """A stand-in for S3 on loopback, which can go away and come back with what it held."""

    def __init__(self, port: int) -> None:
        """Start it at a port that nobody else gets meanwhile, see `held_ports`."""
        import boto3
        from moto.server import ThreadedMotoServer

        from infra.rehearsal.aws.gaps.mended import mend_checksums

        mend_checksums()
        self._make, self._port = ThreadedMotoServer, port
        self.address = f"127.0.0.1:{port}"
        self.back()
        self.client = boto3.client("s3", region_name="us-east-1", endpoint_url=f"http://{self.address}")

    def store(self, bucket: str, prefix: str) -> str:
        """Address of what is below a prefix, as settings state it."""
        options = f"region=us-east-1&scheme=http&endpoint_override={self.address}"
        return f"s3://{bucket}/{prefix}?{options}"

    def away(self) -> None:
        """Refuse connections from now on."""
        self._server.stop()

    def back(self) -> None:
        """Answer again."""
        self._server = self._make(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """S3 without buckets."""
    import httpx

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with held_ports(1) as [port]:
        made = S3(port)
        httpx.post(f"http://{made.address}/moto-api/reset", timeout=60)
        yield made
        made.away()
