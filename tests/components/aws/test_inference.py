"""Serving on Kubernetes: what KubeRay and Ray Serve are told, who may ask what, and that no secret lies in the open."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.cluster.placement import NodePoolArgs
from components.inference import Batching, Capture, FeatureAccess, Limits, RegistryAccess, groups, secret_file
from components.inference.gateway import Callers
from components.inference.kubernetes import KubernetesInference, KubernetesInferenceArgs, ServingSection
from components.inference.ray_service import WorkerGroup, secret_path, serve_config
from components.models import Model, Replicas
from components.ray import RAY_VERSION
from components.testing import Recording, Registration
from components.workload import Resources
from policies.scheduling.nodes import DAEMONS, Capacity
from policies.scheduling.preflight import Environment, Pool, Workload, check
from policies.scheduling.quantities import mib, quantity

pytestmark = pytest.mark.slow  # a file that takes seconds together

Run = Callable[[Callable[[], Any]], Recording]
Make = Callable[..., Recording]

POOL = NodePoolArgs(name="serving", instance_types=("m7i.xlarge",), capacity="on-demand", cpus=32, memory_gib=128)
GPU = NodePoolArgs(
    name="gpu", instance_types=("g6.xlarge",), capacity="on-demand", cpus=8, memory_gib=32, gpus=2, gpu_name="l4"
)
MODELS = [Model(name="flight", folder="f"), Model(name="loan", folder="l", own_group=True, replicas=Replicas(max=3))]
SECRET = "hush-hush"


def section(**changes: Any) -> ServingSection:
    stated: dict[str, Any] = {
        "host": "predict.acme.example",
        "certificate_secret": "acme/tls",
        "callers": Callers(
            issuer="https://login.acme.example",
            keys="https://login.acme.example/keys",
            audience="predict",
            models_claim="models",
        ),
        "models": ["flight", "loan"],
        "requests_per_second": 200,
        "internet": False,
        "head": Resources(cpus=2, memory_gib=8),
        "workers": [
            WorkerGroup(name="general", size=Resources(cpus=3, memory_gib=10), pool=POOL, min=2, max=8),
            WorkerGroup(name="gpu", size=Resources(cpus=3, memory_gib=10, gpus=1), pool=GPU, min=0, max=2),
        ],
        "control": Resources(cpus=0.5, memory_gib=1),
        "upgrade_step": 10,
        "upgrade_seconds": 30,
        "trust_root": "prod",
        "approval": "signatures",
        "signers": 'ann@acme.example namespaces="mlops" ssh-ed25519 AAAA',
    }
    return ServingSection(**(stated | changes))


@pytest.fixture
def inference(run: Run) -> Make:
    def make(**changes: Any) -> Recording:
        args = KubernetesInferenceArgs(
            section=section(**changes),
            environment="prod",
            image="registry/serving@sha256:1",
            network_cidr="10.22.0.0/16",
            control_cidrs=["10.22.216.0/21"],
            token=SECRET,
            control_token=SECRET,
            checkpoint_store="s3://acme-audit/ledger?region=eu-central-1",
            registry=RegistryAccess(
                url="http://registry", username="mlops", password=secret_file(secret_path("registry-password"))
            ),
            features=FeatureAccess(
                url="http://features", token=secret_file(secret_path("features-token")), deadline_ms=100
            ),
            limits=Limits(max_body_bytes=2000, max_rows=10, request_seconds=10),
            capture=Capture(enabled=False, rotate_seconds=60, rotate_rows=1, retention_days=1, queue_rows=1),
            batching=Batching(max_rows=64, wait_ms=0),
            groups=groups(MODELS, Replicas(min=2, max=4)),
            rollout_timeout_seconds=600,
        )
        return run(lambda: KubernetesInference("inference", args))

    return make


def of_kind(made: Recording, kind: str) -> dict[str, Registration]:
    return {entry.inputs["metadata"]["name"]: entry for entry in made if entry.inputs.get("kind") == kind}


def service(made: Recording) -> dict[str, Any]:
    spec: dict[str, Any] = of_kind(made, "RayService")["inference"].inputs["spec"]
    return spec


def head(made: Recording) -> dict[str, Any]:
    found: dict[str, Any] = service(made)["rayClusterConfig"]["headGroupSpec"]
    return found


def workers(made: Recording) -> dict[str, Any]:
    return {one["groupName"]: one for one in service(made)["rayClusterConfig"]["workerGroupSpecs"]}


# --- the cluster ------------------------------------------------------------------------------------------------------


def test_serving_groups_are_those_of_the_stack(inference: Make) -> None:
    told = json.loads(service(inference())["serveConfigV2"])["applications"]

    assert [(one["name"], one["route_prefix"]) for one in told] == [("shared", "/v2"), ("loan", "/v2/models/loan")]
    assert {one["import_path"] for one in told} == {"serving.application:declared"}
    assert [one["args"]["group"] for one in told] == ["shared", "loan"]


@pytest.mark.slow
def test_ray_itself_accepts_the_configuration_of_serve() -> None:
    from ray.serve.schema import ServeDeploySchema

    parsed = ServeDeploySchema.model_validate(json.loads(serve_config(groups(MODELS, Replicas()))))

    assert [one.name for one in parsed.applications] == ["shared", "loan"]


@pytest.mark.slow
def test_a_declared_group_is_built_with_its_replicas(inference: Make, tmp_path: Any) -> None:
    from serving.application import declared

    content = json.loads(head(inference())["template"]["metadata"]["annotations"]["mlops/serving.json"])
    for name in ("control-replica", "features-token", "inference-token", "registry-password", "snapshot-key"):
        (tmp_path / name).write_text("a-secret-of-16-bytes")
    text = json.dumps(content).replace("/run/mlops/secrets/", f"{tmp_path}/").replace("/value", "")
    (tmp_path / "serving.json").write_text(text)

    built = declared({"config": str(tmp_path / "serving.json"), "group": "loan"})

    scaling = built._bound_deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 3)


def test_the_head_does_no_work_and_has_an_actuator_of_its_own(inference: Make) -> None:
    made = head(inference())

    assert made["rayStartParams"]["num-cpus"] == "0"
    assert [one["name"] for one in made["template"]["spec"]["containers"]] == ["ray-head", "actuator"]
    assert made["template"]["spec"]["containers"][1]["command"][:3] == ["python", "-m", "serving.actuator"]
    settings = json.loads(made["template"]["metadata"]["annotations"]["mlops/serving.json"])
    assert settings["groupsDeclared"] is True


def test_the_head_has_the_port_that_kuberay_makes_the_service_of_serving_from(inference: Make) -> None:
    [ports] = [one["ports"] for one in head(inference())["template"]["spec"]["containers"] if one["name"] == "ray-head"]

    assert {one["name"]: one["containerPort"] for one in ports}["serve"] == 8000


def test_the_heads_pod_has_what_the_settings_state(inference: Make) -> None:
    made = inference()

    containers = [*head(made)["template"]["spec"]["containers"], service(made)["rayClusterConfig"]["autoscalerOptions"]]
    asked = [one["resources"]["requests"] for one in containers]
    assert sum(quantity(one["cpu"]) for one in asked) == 2
    assert sum(mib(one["memory"]) for one in asked) == 8 * 1024


def test_the_clusters_state_outlives_a_crash_of_the_head(inference: Make) -> None:
    alone = inference()

    variables = {one["name"]: one.get("value") for one in head(alone)["template"]["spec"]["containers"][0]["env"]}
    assert variables["RAY_gcs_storage"] == "rocksdb"
    # With the second autoscaler KubeRay restarts no container.
    assert service(alone)["rayClusterConfig"]["autoscalerOptions"]["version"] == "v1"


def test_workers_are_placed_and_bounded_as_the_settings_state(inference: Make) -> None:
    found = workers(inference())

    assert (found["general"]["minReplicas"], found["general"]["maxReplicas"]) == (2, 8)
    spec = found["gpu"]["template"]["spec"]
    assert spec["nodeSelector"] == {"mlops/pool": "gpu"}
    assert [one["key"] for one in spec["tolerations"]] == ["nvidia.com/gpu"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    keys = {one["topologyKey"] for one in spec["topologySpreadConstraints"]}
    assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}


def test_what_pods_ask_for_fits_their_pools(inference: Make) -> None:
    found = workers(inference())
    pools = {"general": POOL, "gpu": GPU}
    asked = []
    for name, group in found.items():
        requests = group["template"]["spec"]["containers"][0]["resources"]["requests"]
        asked.append(
            Workload(
                name=name,
                namespace="serving",
                size=Capacity(
                    cpus=quantity(requests["cpu"]),
                    memory_mib=mib(requests["memory"]),
                    gpus=int(requests.get("nvidia.com/gpu", "0")),
                ),
                selector=group["template"]["spec"]["nodeSelector"],
                tolerations=frozenset(one["key"] for one in group["template"]["spec"]["tolerations"]),
            )
        )
    environment = Environment(
        pools=[
            Pool(
                name=pool.name,
                instance_types=pool.instance_types,
                taints=frozenset(pool.taints),
                gpu_name=pool.gpu_name,
            )
            for pool in pools.values()
        ],
        daemons=DAEMONS,
    )

    assert check(environment, asked) == []


def test_every_container_is_without_root_and_without_a_writable_root_disk(inference: Make) -> None:
    made = inference()
    templates = [head(made)["template"], *(one["template"] for one in workers(made).values())]

    for container in [one for template in templates for one in template["spec"]["containers"]]:
        context = container["securityContext"]
        assert context["runAsNonRoot"]
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_an_upgrade_moves_traffic_in_steps(inference: Make) -> None:
    strategy = service(inference())["upgradeStrategy"]

    assert strategy["type"] == "NewClusterWithIncrementalUpgrade"
    assert strategy["clusterUpgradeOptions"] == {
        "maxSurgePercent": 10,
        "stepSizePercent": 10,
        "intervalSeconds": 30,
        "gatewayClassName": "inference-upgrade",
    }


def test_a_drained_node_takes_one_worker_at_a_time(inference: Make) -> None:
    budget = inference().of_type("kubernetes:policy/v1:PodDisruptionBudget")["inference"]

    assert budget.inputs["spec"]["maxUnavailable"] == 1


def test_no_secret_lies_in_the_open(inference: Make) -> None:
    for entry in inference():
        assert SECRET not in json.dumps(entry.inputs), entry.urn


def test_the_next_controller_starts_when_the_last_one_has_ended(inference: Make) -> None:
    control = inference().of_type("kubernetes:apps/v1:Deployment")["control"]

    assert control.inputs["spec"]["replicas"] == 1
    assert control.inputs["spec"]["strategy"] == {"type": "Recreate"}


def test_the_controller_reads_what_it_is_given(inference: Make, tmp_path: Any) -> None:
    from serving.control.config import read

    config = inference().of_type("kubernetes:core/v1:ConfigMap")["control"].inputs["data"]["etc.mlops.control.json"]
    for name in ("control-admin", "control-replica", "database-url", "ledger-key", "snapshot-key"):
        (tmp_path / name).write_text("a-secret-of-43-characters-as-tokens-of-ours-are")
    text = config.replace("/run/mlops/secrets/", f"{tmp_path}/").replace("/value", "")
    (tmp_path / "control.json").write_text(text)

    made = read(tmp_path / "control.json")
    assert made.approval == "signatures"
    assert made.ledger is not None
    assert made.ledger.store == "s3://acme-audit/ledger?region=eu-central-1"
    assert made.ledger.secret == (tmp_path / "ledger-key").read_text()


@pytest.mark.parametrize(("root", "rehearsal"), [("prod", None), ("acme", None), ("rehearsal", True)])
def test_only_the_examples_trust_root_makes_it_a_rehearsal(inference: Make, root: str, rehearsal: object) -> None:
    made = inference(trust_root=root)

    files = made.of_type("kubernetes:core/v1:ConfigMap")["control"].inputs["data"]
    control = json.loads(files["etc.mlops.control.json"])
    trust = json.loads(head(made)["template"]["metadata"]["annotations"]["mlops/serving.json"])["trust"]
    assert [one["name"] for one in control["trustRoots"]] == [one["name"] for one in trust["roots"]] == [root]
    assert (control.get("rehearsal"), trust.get("rehearsal")) == (rehearsal, rehearsal)


def test_without_signers_nobody_is_trusted(inference: Make) -> None:
    annotations = head(inference(signers=""))["template"]["metadata"]["annotations"]

    assert json.loads(annotations["mlops/serving.json"])["trust"] == {"signature": "required", "roots": []}


def test_ray_is_that_of_the_lock() -> None:
    lock = (Path(__file__).parents[3] / "images" / "serving" / "requirements.lock").read_text()

    assert f"\nray=={RAY_VERSION} " in lock or f"\nray[default,serve]=={RAY_VERSION} " in lock


# --- the gateway ------------------------------------------------------------------------------------------------------


def test_each_model_is_open_to_tokens_that_list_it_and_no_others(inference: Make) -> None:
    made = inference()
    routes, guards = of_kind(made, "HTTPRoute"), of_kind(made, "SecurityPolicy")

    path = routes["model-flight"].inputs["spec"]["rules"][0]["matches"][0]["path"]
    assert path == {"type": "PathPrefix", "value": "/v2/models/flight"}
    guard = guards["model-flight"].inputs["spec"]
    assert guard["authorization"]["defaultAction"] == "Deny"
    claims = guard["authorization"]["rules"][0]["principal"]["jwt"]["claims"]
    assert claims == [{"name": "models", "valueType": "StringArray", "values": ["flight"]}]
    provider = guard["jwt"]["providers"][0]
    assert (provider["issuer"], provider["audiences"]) == ("https://login.acme.example", ["predict"])


def test_a_route_is_guarded_before_it_is_there(inference: Make) -> None:
    made = inference()

    for name, route in of_kind(made, "HTTPRoute").items():
        for kind in ("SecurityPolicy", "BackendTrafficPolicy"):
            assert made.waits_for(route, of_kind(made, kind)[name])


def test_what_is_open_to_any_token_holds_no_model(inference: Make) -> None:
    matches = of_kind(inference(), "HTTPRoute")["server"].inputs["spec"]["rules"][0]["matches"]

    assert {one["path"]["type"] for one in matches} == {"Exact"}
    assert not any("models" in one["path"]["value"] for one in matches)


def test_one_caller_is_held_to_his_rate(inference: Make) -> None:
    limit = of_kind(inference(), "BackendTrafficPolicy")["model-loan"].inputs["spec"]["rateLimit"]["local"]["rules"][0]

    assert limit["clientSelectors"] == [{"headers": [{"name": "x-mlops-caller", "type": "Distinct"}]}]
    assert limit["limit"] == {"requests": 100, "unit": "Second"}


def test_predictions_come_in_by_tls_for_their_host_only(inference: Make) -> None:
    listeners = of_kind(inference(), "Gateway")["predictions"].inputs["spec"]["listeners"]

    assert [(one["protocol"], one["port"], one["hostname"]) for one in listeners] == [
        ("HTTPS", 443, "predict.acme.example")
    ]


@pytest.mark.parametrize(("internet", "scheme"), [(False, "internal"), (True, "internet-facing")])
def test_the_internet_reaches_predictions_only_where_asked_for(inference: Make, internet: bool, scheme: str) -> None:
    proxy = of_kind(inference(internet=internet), "EnvoyProxy")["predictions"].inputs["spec"]

    annotations = proxy["provider"]["kubernetes"]["envoyService"]["annotations"]
    assert annotations["service.beta.kubernetes.io/aws-load-balancer-scheme"] == scheme
