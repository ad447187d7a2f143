"""The pack over its real protocol, without an engine: a client tells a plan and gets the findings."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from policies.evaluation import Evaluation
from policies.judge import judge
from policies.pack.servicer import NAME, PackServicer, clock
from policies.plan import Plan, Resource
from policies.rule import Answer, Deferred, Problem, World, resource_rule
from policies.testing import NOW, component, gate, resource, secret, unknown
from policies.testing.build import struct


@resource_rule(
    id="cost.small",
    title="Small",
    severity="high",
    why="w",
    fix="make it small",
    references=("NIST X",),
    types=("t:*",),
)
def small(one: Resource, world: World) -> Iterator[Answer]:
    """Look at its size."""
    size = one.value("size")
    if size == "broken":
        raise RuntimeError("oops")
    if size == "later":
        yield Deferred("ask the account", "quota", {"cpus": 3})
    elif size > 3:
        yield Problem(f"size is {size}; allowed: 3", path="size")


class Client:
    """What the engine would say."""

    def __init__(self, channel: Any) -> None:
        self.stub = analyzer_pb2_grpc.AnalyzerStub(channel)

    def tell(self, *resources: Resource) -> list[Any]:
        """Tell a plan, in its order, and return what is answered."""
        self.stub.ConfigureStack(analyzer_pb2.AnalyzerStackConfigureRequest(stack="prod", dry_run=True))
        for one in resources:
            answer = self.stub.Analyze(
                analyzer_pb2.AnalyzeRequest(
                    urn=one.urn, type=one.type, name=one.name, properties=struct(one.inputs),
                    options=analyzer_pb2.AnalyzerResourceOptions(protect=one.protect),
                )
            )  # fmt: skip
            assert not answer.diagnostics, "the plan is judged at its end, where it is whole"
        told = [
            analyzer_pb2.AnalyzerResource(
                urn=one.urn, type=one.type, name=one.name, parent=one.parent, dependencies=one.dependencies,
                properties=struct({"outputs": "are not judged", "size": 99}),
                provider=analyzer_pb2.AnalyzerProviderResource(urn=one.provider) if one.provider else None,
                propertyDependencies={
                    name: analyzer_pb2.AnalyzerPropertyDependencies(urns=urns)
                    for name, urns in one.property_dependencies.items()
                },
            )
            for one in resources
        ]  # fmt: skip
        return list(self.stub.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=told)).diagnostics)


@pytest.fixture
def plans() -> list[Plan]:
    """The plans that were judged."""
    return []


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """The file of the result."""
    return tmp_path / "result.json"


@pytest.fixture
def client(tmp_path: Path, plans: list[Plan], result: Path) -> Iterator[Client]:
    """A client of a pack with one rule."""

    def judged(plan: Plan) -> Evaluation:
        plans.append(plan)
        return judge(plan, [small], tmp_path, NOW)

    server = grpc.server(ThreadPoolExecutor(2))
    analyzer_pb2_grpc.add_AnalyzerServicer_to_server(PackServicer((small,), judged, result), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Client(channel)
    server.stop(None).wait()


def test_pack_says_what_its_rules_are(client: Client) -> None:
    info = client.stub.GetAnalyzerInfo(empty_pb2.Empty())
    (policy,) = info.policies
    assert info.name == NAME
    assert (policy.name, policy.description, policy.remediation_steps) == ("cost.small", "Small", "make it small")
    assert policy.enforcementLevel == analyzer_pb2.MANDATORY
    assert policy.severity == analyzer_pb2.POLICY_SEVERITY_HIGH
    assert list(policy.tags) == ["cost", "NIST X"]


def test_resource_comes_through_as_it_was_told(client: Client, plans: list[Plan]) -> None:
    outer = component("mlops:x:Outer", "outer")
    bucket = resource("t:m:Bucket", "data", size=1)
    one = resource(
        "t:m:T", "one", size=1, half=0.5, bucket=bucket, nested={"key": [unknown(bucket)]}, login=secret("hush"),
        parent=outer, protect=True, depends_on=[bucket],
    )  # fmt: skip
    client.tell(gate(), outer, bucket, one)
    (plan,) = plans
    assert plan.stack == "prod"
    assert plan.steps is None
    assert plan.by_urn[one.urn] == one
    assert plan.by_urn[outer.urn] == outer


@pytest.mark.parametrize(
    ("size", "level", "status"),
    [
        (4, analyzer_pb2.MANDATORY, "failed"),
        (unknown(), analyzer_pb2.MANDATORY, "undetermined"),
        ("broken", analyzer_pb2.MANDATORY, "undetermined"),
        ("later", analyzer_pb2.ADVISORY, "deferred"),
    ],
)
def test_finding_stops_the_engine_where_it_must(client: Client, size: object, level: int, status: str) -> None:
    one = resource("t:m:T", "one", size=size)
    (told,) = client.tell(gate(), one)
    assert (told.policyName, told.urn, told.enforcementLevel) == ("cost.small", one.urn, level)
    assert told.severity == analyzer_pb2.POLICY_SEVERITY_HIGH
    assert told.message.startswith(f"[{status}]")
    assert ("to mend it: make it small" in told.message) is (level == analyzer_pb2.MANDATORY)


def test_finding_in_dev_advises_and_in_local_is_none(client: Client) -> None:
    one = resource("t:m:T", "one", size=4)
    (told,) = client.tell(gate(environment="dev"), one)
    assert told.enforcementLevel == analyzer_pb2.ADVISORY
    assert client.tell(gate(environment="local"), one) == []


def test_result_is_written_whole(client: Client, result: Path) -> None:
    client.tell(gate(), resource("t:m:T", "one", size=4), resource("t:m:T", "two", size=1))
    found = Evaluation.from_json(json.loads(result.read_text()))
    assert (found.counts, found.asked) == ({"failed": 1, "passed": 1}, ["cost.small"])
    assert [one.path for one in found.findings] == ["size"]


def test_result_of_an_earlier_operation_is_gone_when_the_next_begins(client: Client, result: Path) -> None:
    result.write_text("{}")
    client.stub.ConfigureStack(analyzer_pb2.AnalyzerStackConfigureRequest(stack="prod"))
    assert not result.exists()


def test_second_operation_sees_nothing_of_the_first(client: Client, plans: list[Plan]) -> None:
    client.tell(gate(), resource("t:m:T", "one", size=4))
    client.tell(gate(), resource("t:m:T", "two", size=1))
    assert [one.name for one in plans[1].resources] == ["gate", "two"]


def test_plan_without_a_gate_stops_the_engine(client: Client) -> None:
    (told,) = client.tell(resource("t:m:T", "one", size=1))
    assert (told.policyName, told.enforcementLevel) == ("gate.facts", analyzer_pb2.MANDATORY)


def test_gate_that_trips_stops_the_engine_and_leaves_no_result(tmp_path: Path, result: Path) -> None:
    def trips(plan: Plan) -> Evaluation:
        raise RuntimeError("no such luck")

    server = grpc.server(ThreadPoolExecutor(2))
    analyzer_pb2_grpc.add_AnalyzerServicer_to_server(PackServicer((small,), trips, result), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as raised:
        Client(channel).tell(gate())
    server.stop(None).wait()
    assert "no such luck" in raised.value.details()
    assert not result.exists()


@pytest.mark.parametrize(
    "config",
    [
        analyzer_pb2.PolicyConfig(enforcementLevel=analyzer_pb2.DISABLED),
        analyzer_pb2.PolicyConfig(enforcementLevel=analyzer_pb2.ADVISORY),
        analyzer_pb2.PolicyConfig(enforcementLevel=analyzer_pb2.MANDATORY, properties=struct({"limit": 9})),
    ],
    ids=["disabled", "advisory", "properties"],
)
def test_configuration_from_outside_cannot_weaken_a_rule(client: Client, config: Any) -> None:
    request = analyzer_pb2.ConfigureAnalyzerRequest(policyConfig={"cost.small": config})
    with pytest.raises(grpc.RpcError) as raised:
        client.stub.Configure(request)
    assert "cost.small" in raised.value.details()


def test_configuration_that_changes_nothing_is_taken(client: Client) -> None:
    config = analyzer_pb2.PolicyConfig(enforcementLevel=analyzer_pb2.MANDATORY)
    client.stub.Configure(analyzer_pb2.ConfigureAnalyzerRequest(policyConfig={"cost.small": config}))


def test_pack_mends_nothing_in_silence(client: Client) -> None:
    answer = client.stub.Remediate(analyzer_pb2.AnalyzeRequest(urn="u", type="t", properties=struct({"size": 9})))
    assert not answer.remediations


def test_clock_is_stated_with_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_NOW", "2026-11-20T09:00:00+00:00")
    assert clock() == NOW
    monkeypatch.setenv("MLOPS_NOW", "2026-11-20T09:00:00")
    with pytest.raises(ValueError, match="zone"):
        clock()
    monkeypatch.delenv("MLOPS_NOW")
    assert abs((clock() - datetime.now().astimezone()).total_seconds()) < 60
