"""Training as Ray jobs: a suspended RayJob and a CronJob for each model, which run the steps of the local target."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.cloud import Cloud
from components.cluster.placement import NodePoolArgs
from components.identity import matrix
from components.models import Model
from components.naming import Names
from components.pipelines import cron
from components.pipelines.kubernetes import KubernetesPipelines, KubernetesPipelinesArgs
from components.pipelines.local import train_command
from components.pipelines.ray_job import ACCOUNT, LAUNCHER, NAMESPACE, RETRIES, WORK, name_of
from components.site import Site
from components.testing import Recording
from components.workload import Resources
from infra.settings.model import model_name_allowed

Run = Callable[[Callable[[], Any]], Recording]
RAY_JOB, CRON_JOB = "kubernetes:ray.io/v1:RayJob", "kubernetes:batch/v1:CronJob"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
IMAGE = "333333333333.dkr.ecr.eu-central-1.amazonaws.com/acme/prod/training@sha256:" + "a" * 64
FLIGHT = Model(
    name="flight", folder="models/flight", params={"depth": 3, "kind": "deep"}, schedule="30 3 * * 1-5,7", seed=11
)
LOAN = Model(name="loan", folder="models/loan")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    """An environment whose project has a model that looks features up and one that does not."""
    root = tmp_path_factory.mktemp("project")
    for name, extra in (("flight", ", online=STORE"), ("loan", "")):
        folder = root / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(f"MODEL = ModelSpec(name='{name}'{extra})\n")
    names = Names(client="acme", environment="prod", account="333333333333", region="eu-central-1")
    return Cloud(stack="prod", names=names, partition="aws", tags={}, protected=True, project=str(root))


def arguments(cloud: Cloud, *models: Model) -> KubernetesPipelinesArgs:
    return KubernetesPipelinesArgs(
        cloud=cloud,
        models=models,
        image=IMAGE,
        size=Resources(cpus=2, memory_gib=8),
        pool=NodePoolArgs(name="training", instance_types=("m7i.xlarge",), capacity="spot", cpus=32, memory_gib=128),
        max_hours=2,
        store="s3://acme-prod-data/pipelines",
        tracking="http://registry.registry.svc:5000",
        username="mlops",
        environment={"AWS_REGION": "eu-central-1", "MLOPS_SIGNING_KEY": "secretsmanager:acme/prod/signing-key"},
    )


@pytest.fixture
def recording(run: Run, here: Cloud) -> Recording:
    return run(lambda: KubernetesPipelines("pipelines", arguments(here, FLIGHT, LOAN)))


def head(recording: Recording, model: str) -> dict[str, Any]:
    spec = recording.of_type(RAY_JOB)[model].inputs["spec"]
    return dict(spec["rayClusterSpec"]["headGroupSpec"]["template"])


def steps(recording: Recording, model: str) -> dict[str, Any]:
    return dict(json.loads(head(recording, model)["metadata"]["annotations"]["mlops/steps.json"]))


def templates(recording: Recording) -> Iterator[Mapping[str, Any]]:
    """All pods that there may be."""
    for job in recording.of_type(RAY_JOB).values():
        spec = job.inputs["spec"]
        assert not spec["rayClusterSpec"].get("workerGroupSpecs")
        yield spec["rayClusterSpec"]["headGroupSpec"]["template"]
        yield spec["submitterPodTemplate"]
    for job in recording.of_type(CRON_JOB).values():
        yield job.inputs["spec"]["jobTemplate"]["spec"]["template"]


def test_each_model_has_a_suspended_run_and_what_starts_it(recording: Recording) -> None:
    runs, clocks = recording.of_type(RAY_JOB), recording.of_type(CRON_JOB)

    assert set(runs) == set(clocks) == {"flight", "loan"}
    assert all(one.inputs["spec"]["suspend"] is True for one in runs.values())
    for name, clock in clocks.items():
        assert recording.waits_for(clock, runs[name])
        assert clock.parent.endswith("mlops:pipelines:KubernetesPipelines::pipelines")
        launched = clock.inputs["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
        assert launched[-1] == f"--template={runs[name].inputs['metadata']['name']}"


def test_only_a_model_with_a_schedule_is_started_by_the_clock(recording: Recording) -> None:
    flight, loan = (recording.of_type(CRON_JOB)[name].inputs["spec"] for name in ("flight", "loan"))

    assert (flight["suspend"], flight["schedule"], flight["timeZone"]) == (False, "30 3 * * 0,1,2,3,4,5", "Etc/UTC")
    assert loan["suspend"] is True
    for one in (flight, loan):
        assert one["concurrencyPolicy"] == "Forbid"
        assert one["successfulJobsHistoryLimit"] == one["failedJobsHistoryLimit"] == 3


def test_steps_are_those_of_the_local_target_in_order(recording: Recording, here: Cloud) -> None:
    found = steps(recording, "flight")["steps"]
    local = train_command(Site(stack="s", home="/h", project=here.project, python="python"), FLIGHT)

    assert [step["name"] for step in found] == ["ingest", "materialize", "train"]
    assert found[0]["command"] == ["python", "-m", "training.pipelines.ingest", "--folder=models/flight"]
    assert found[1]["command"] == ["python", "-m", "training.pipelines.materialize", "--folder=models/flight"]
    assert sorted(found[2]["command"]) == sorted(local)
    assert [step["name"] for step in steps(recording, "loan")["steps"]] == ["ingest", "train"]


def test_each_step_gets_what_the_one_before_has_put(recording: Recording) -> None:
    put: set[str] = set()
    for step in steps(recording, "flight")["steps"]:
        assert {place for place, _ in step["inputs"]} <= put
        folders = {path for _, path in step["inputs"]}
        earlier = [value[1:] for value in step["environment"].values() if value.startswith("@")]
        assert {path.removeprefix(f"{WORK}/").rpartition("/")[0] for path in earlier} <= folders
        put |= {place for place, _ in step["outputs"]}
    assert put == {"snapshots", "ingest", "features", "materialize", "train"}


def test_places_of_a_model_are_where_those_of_its_sagemaker_pipeline_would_be(recording: Recording) -> None:
    assert steps(recording, "loan")["store"] == "s3://acme-prod-data/pipelines/acme-prod-training-loan"


def test_the_file_is_what_the_program_in_the_image_reads(recording: Recording) -> None:
    from training.pipelines.steps import parse

    plan = parse(steps(recording, "flight"))

    assert str(plan.work) == WORK
    mounts = {mount["mountPath"] for mount in head(recording, "flight")["spec"]["containers"][0]["volumeMounts"]}
    assert {WORK, "/tmp", "/tmp/ray", "/etc/mlops"} == mounts


def test_the_entrypoint_survives_the_shell_that_it_is_put_into(recording: Recording) -> None:
    entrypoint = recording.of_type(RAY_JOB)["flight"].inputs["spec"]["entrypoint"]

    assert set(entrypoint) <= set("abcdefghijklmnopqrstuvwxyz_./ -")
    assert entrypoint.split()[-1] == "/etc/mlops/steps.json"


def test_a_run_ends_and_leaves_nothing_that_bills(recording: Recording) -> None:
    spec = recording.of_type(RAY_JOB)["flight"].inputs["spec"]
    launcher = recording.of_type(CRON_JOB)["flight"].inputs["spec"]["jobTemplate"]["spec"]

    assert spec["activeDeadlineSeconds"] == 7200
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["backoffLimit"] == RETRIES
    longest = spec["activeDeadlineSeconds"] + spec["preRunningDeadlineSeconds"]
    assert launcher["activeDeadlineSeconds"] >= longest * (RETRIES + 1)
    assert launcher["ttlSecondsAfterFinished"] > 0
    assert launcher["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["submitterPodTemplate"]["spec"]["restartPolicy"] == "Never"


def test_every_pod_keeps_to_the_restricted_level_and_runs_the_image_by_digest(recording: Recording) -> None:
    for template in templates(recording):
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in template["spec"]["containers"]:
            assert container["image"] == IMAGE
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


def test_a_run_is_in_the_pool_of_training_and_no_other_pod_is(recording: Recording) -> None:
    for template in templates(recording):
        inside = template["spec"].get("nodeSelector") == {"mlops/pool": "training"}
        assert inside is (template["metadata"]["labels"]["mlops/workload"] == "training")
    tolerated = [one["key"] for one in head(recording, "flight")["spec"]["tolerations"]]
    assert tolerated == ["mlops/spot"]


def test_only_runs_have_the_role_and_only_the_launcher_has_a_token(recording: Recording) -> None:
    jobs = matrix.identity("jobs")
    assert (jobs.namespace, jobs.service_account) == (NAMESPACE, ACCOUNT)
    for template in templates(recording):
        spec, kind = template["spec"], template["metadata"]["labels"]["mlops/workload"]
        assert (spec["serviceAccountName"] == ACCOUNT) is (kind == "training")
        assert spec["automountServiceAccountToken"] is (kind == LAUNCHER)
    [rule] = recording.only("kubernetes:rbac.authorization.k8s.io/v1:Role").inputs["rules"]
    assert rule == {"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["get", "list", "create"]}


def test_secrets_are_named_and_never_stated(recording: Recording) -> None:
    variables = {one["name"]: one for one in head(recording, "flight")["spec"]["containers"][0]["env"]}

    assert variables["MLFLOW_TRACKING_PASSWORD"]["valueFrom"] == {
        "secretKeyRef": {"name": "registry-password", "key": "value"}
    }
    assert variables["MLOPS_SIGNING_KEY"]["value"] == "secretsmanager:acme/prod/signing-key"
    assert any(grant.name == "signing-key" for grant in matrix.identity("jobs").grants)


def test_the_name_of_a_run_comes_from_the_run_alone(recording: Recording) -> None:
    template = head(recording, "flight")
    variables = {one["name"]: one for one in template["spec"]["containers"][0]["env"]}

    assert variables["MLOPS_RUN"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.annotations['mlops/run']"
    assert "mlops/run" not in template["metadata"]["annotations"]


def test_a_copy_for_a_job_is_what_the_launcher_makes(recording: Recording) -> None:
    from training.pipelines.launch import RUN, Job, started

    job = recording.of_type(RAY_JOB)["loan"].inputs
    made = started(dict(job), Job("training", "train-loan-29384920", "u"))

    assert made["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["metadata"]["annotations"][RUN] == (
        "ray-train-loan-29384920"
    )
    assert made["metadata"]["labels"] == {"mlops/workload": "training", "mlops/model": "loan"}


def test_who_talks_to_whom(recording: Recording) -> None:
    policies = {name: one.inputs["spec"] for name, one in recording.of_type(POLICY).items()}
    kinds = {template["metadata"]["labels"]["mlops/workload"] for template in templates(recording)}

    assert {one["podSelector"]["matchLabels"]["mlops/workload"] for one in policies.values()} == kinds
    assert all(one["policyTypes"] == ["Ingress", "Egress"] for one in policies.values())
    assert policies["training-submitter"]["ingress"] == policies["training-launcher"]["ingress"] == []
    reached = json.dumps(policies["training"]["egress"])
    assert '"kubernetes.io/metadata.name": "registry"' in reached
    assert '"0.0.0.0/0"' not in json.dumps(policies["training-submitter"])


def test_a_schedule_that_kubernetes_cannot_say_is_refused_with_its_key(run: Run, here: Cloud) -> None:
    last = Model(name="loan", folder="models/loan", schedule="0 3 l * *")

    with pytest.raises(Exception, match=r"models\.loan\.schedule: '0 3 l \* \*': the last day"):
        run(lambda: KubernetesPipelines("pipelines", arguments(here, last)))


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("30 3 * * 1", "30 3 * * 1"),
        ("*/20 6-8 * * 0,7", "0,20,40 6,7,8 * * 0"),
        ("0 4 1 jan,jul sat", "0 4 1 1,7 6"),
        ("* * * * *", "* * * * *"),
    ],
)
def test_cron_is_said_as_kubernetes_says_it(stated: str, expected: str) -> None:
    assert cron.standard(stated) == expected


@given(st.from_regex(r"[a-z][a-z0-9-]{0,39}[a-z0-9]", fullmatch=True).filter(model_name_allowed))
def test_names_of_any_model_are_short_enough_for_cron_job_job_and_run(model: str) -> None:
    from training.pipelines.launch import LONGEST, run_name

    name = name_of(model)

    # Kubernetes puts a dash and minutes since 1970, eight digits until 2160, behind the name of a CronJob.
    run = run_name(f"{name}-99999999")
    assert run == f"ray-{name}-99999999"
    assert len(run) <= LONGEST
