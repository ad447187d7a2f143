"""SageMaker pipelines: the steps of the local target in the image by digest, started by the clock and by drift."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.cloud import Cloud
from components.cluster.service_access import TRAINING, ServiceAccess, proxy_path, registering
from components.identity import matrix
from components.models import Model
from components.pipelines import cron, definitions, drift
from components.pipelines.aws import SageMakerPipelines, SageMakerPipelinesArgs
from components.pipelines.definitions import RenderingError, definition, description, filled
from components.testing import Recording
from infra.rehearsal.aws.clients import Aws
from infra.rehearsal.moto import moto_server
from training.pipelines.through_cluster import Service

Run = Callable[[Callable[[], Any]], Recording]
IMAGE = "333333333333.dkr.ecr.eu-central-1.amazonaws.com/acme/prod/training@sha256:" + "a" * 64
WAY = definitions.RegistryWay(
    cluster="acme-prod-main",
    service="registry/registry:5000",
    username="mlops",
    password_secret="acme/prod/registry-password",
)
SIGNING = {"MLOPS_SIGNING_KEY": "secretsmanager:acme/prod/signing-key"}
FLIGHT = Model(
    name="flight", folder="models/flight", params={"depth": 3, "kind": "deep"}, schedule="30 3 * * 1-5", seed=11
)
LOAN = Model(name="loan", folder="models/loan")
KNOWN = {
    definitions.KEY: "arn:aws:kms:eu-central-1:333333333333:key/k",
    definitions.SECURITY_GROUP: "sg-1",
    definitions.subnet(0): "subnet-a",
    definitions.subnet(1): "subnet-b",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a model that looks features up and one that does not."""
    root = tmp_path_factory.mktemp("project")
    for name, extra in (("flight", ", online=STORE"), ("loan", "")):
        folder = root / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(f"MODEL = ModelSpec(name='{name}'{extra})\n")
    return root


@pytest.fixture(scope="module")
def here(project: Path) -> Cloud:
    from components.naming import Names

    names = Names(client="acme", environment="prod", account="333333333333", region="eu-central-1")
    return Cloud(stack="prod", names=names, partition="aws", tags={}, protected=True, project=str(project))


def described(cloud: Cloud, model: Model) -> dict[str, Any]:
    return description(
        cloud,
        model,
        image=IMAGE,
        instance_type="ml.m7i.large",
        max_hours=2,
        subnets=2,
        environment={"FEATURES": "dynamodb"},
        signing=SIGNING,
        registry=WAY,
    )


@pytest.fixture(scope="module")
def rendered(here: Cloud, project: Path) -> Mapping[str, dict[str, Any]]:
    """The definitions as the SDK renders them."""
    return {
        model.name: json.loads(filled(definition(project, described(here, model)), KNOWN)) for model in (FLIGHT, LOAN)
    }


@pytest.mark.slow
def test_steps_are_those_of_the_local_target_in_order(rendered: Mapping[str, dict[str, Any]]) -> None:
    steps = rendered["flight"]["Steps"]

    assert [(step["Name"], step.get("DependsOn", [])) for step in steps] == [
        ("ingest", []),
        ("materialize", ["ingest"]),
        ("train", ["materialize"]),
    ]
    commands = {step["Name"]: step["Arguments"]["AppSpecification"]["ContainerEntrypoint"] for step in steps}
    assert commands["ingest"] == [
        *("python", "-m", "training.pipelines.sole_run", "--"),
        *("python", "-m", "training.pipelines.ingest", "--folder=models/flight"),
    ]
    assert commands["train"] == [
        *("python", "-m", "training.pipelines.secret_environment"),
        *("secretsmanager:acme/prod/registry-password:MLFLOW_TRACKING_PASSWORD", "--"),
        *("python", "-m", "training.pipelines.through_cluster"),
        *("--cluster=acme-prod-main", "--service=registry/registry:5000", "--"),
        *("python", "-m", "training.pipelines.train", "--folder=models/flight", "--param=depth=3", "--param=kind=deep"),
    ]
    assert [step["Name"] for step in rendered["loan"]["Steps"]] == ["ingest", "train"]


@pytest.mark.slow
def test_every_step_runs_the_image_by_digest_as_the_role_inside_the_network(
    rendered: Mapping[str, dict[str, Any]],
) -> None:
    for step in [*rendered["flight"]["Steps"], *rendered["loan"]["Steps"]]:
        stated = step["Arguments"]
        assert stated["AppSpecification"]["ImageUri"] == IMAGE
        assert stated["RoleArn"] == "arn:aws:iam::333333333333:role/acme-prod-training"
        assert stated["NetworkConfig"]["VpcConfig"] == {
            "SecurityGroupIds": ["sg-1"],
            "Subnets": ["subnet-a", "subnet-b"],
        }
        assert stated["NetworkConfig"]["EnableInterContainerTrafficEncryption"] is True
        cluster = stated["ProcessingResources"]["ClusterConfig"]
        assert cluster["InstanceType"] == {"Get": "Parameters.InstanceType"}
        assert cluster["VolumeKmsKeyId"] == stated["ProcessingOutputConfig"]["KmsKeyId"] == KNOWN[definitions.KEY]
        assert stated["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200}


@pytest.mark.slow
def test_each_step_gets_what_the_one_before_has_put(rendered: Mapping[str, dict[str, Any]]) -> None:
    put: set[str] = set()
    for step in rendered["flight"]["Steps"]:
        stated = step["Arguments"]
        got = {json.dumps(one["S3Input"]["S3Uri"]) for one in stated.get("ProcessingInputs", [])}
        assert got <= put
        folders = [one["S3Input"]["LocalPath"] for one in stated.get("ProcessingInputs", [])]
        named = [value[1:] for value in stated["Environment"].values() if str(value).startswith("@")]
        assert all(path.rpartition("/")[0] in folders for path in named)
        put |= {json.dumps(one["S3Output"]["S3Uri"]) for one in stated["ProcessingOutputConfig"]["Outputs"]}
    assert "Execution.PipelineExecutionId" in next(iter(put))


@pytest.mark.slow
def test_size_and_seed_are_parameters(rendered: Mapping[str, dict[str, Any]]) -> None:
    assert rendered["flight"]["Parameters"] == [
        {"Name": "InstanceType", "Type": "String", "DefaultValue": "ml.m7i.large"},
        {"Name": "Seed", "Type": "String", "DefaultValue": "11"},
    ]
    train = rendered["flight"]["Steps"][-1]["Arguments"]
    assert train["AppSpecification"]["ContainerArguments"] == ["--seed", {"Get": "Parameters.Seed"}]


@pytest.mark.slow
def test_only_the_step_that_trains_signs_and_the_first_knows_its_execution(
    rendered: Mapping[str, dict[str, Any]],
) -> None:
    variables = {step["Name"]: step["Arguments"]["Environment"] for step in rendered["flight"]["Steps"]}

    assert [name for name, found in variables.items() if "MLOPS_SIGNING_KEY" in found] == ["train"]
    assert variables["ingest"]["MLOPS_EXECUTION"] == {"Get": "Execution.PipelineExecutionArn"}
    for found in variables.values():
        # Longest value of a variable that CreateProcessingJob takes (SageMaker API reference).
        assert all(len(value) <= 256 for value in found.values() if isinstance(value, str))


@pytest.mark.slow
def test_a_definition_is_taken_by_the_api_and_holds_no_secret(
    rendered: Mapping[str, dict[str, Any]], tmp_path: Path
) -> None:
    text = json.dumps(rendered["flight"])
    assert not re.search(r'"MLFLOW_TRACKING_PASSWORD"\s*:', text)

    with moto_server(tmp_path / "server.log", account="333333333333") as server:
        made = Aws(server.url, "eu-central-1").call(
            "sagemaker",
            "create_pipeline",
            {
                "PipelineName": "acme-prod-training-flight",
                "PipelineDefinition": text,
                "ClientRequestToken": "x" * 32,
                "RoleArn": "arn:aws:iam::333333333333:role/acme-prod-training",
            },
        )

    assert made["PipelineArn"].endswith(":pipeline/acme-prod-training-flight")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Renders without the SDK: gives the description back; holds what it was asked."""
    asked: list[str] = []

    def render(text: str) -> str:
        asked.append(text)
        return text

    monkeypatch.setattr(definitions, "_render", render)
    return asked


def test_a_definition_is_rendered_once_per_content(stand_in: list[str], here: Cloud, tmp_path: Path) -> None:
    first = definition(tmp_path, described(here, LOAN))
    again = definition(tmp_path, described(here, LOAN))
    definition(tmp_path, described(here, dataclasses.replace(LOAN, seed=8)))

    assert first == again
    assert len(stand_in) == 2


def test_a_mark_without_a_value_is_refused() -> None:
    with pytest.raises(RenderingError, match="subnet-1"):
        filled('["mark:subnet-0", "mark:subnet-1"]', {"mark:subnet-0": "subnet-a"})


@pytest.fixture
def recording(run: Run, here: Cloud, stand_in: list[str]) -> Recording:
    args = SageMakerPipelinesArgs(
        cloud=here,
        models=[FLIGHT, LOAN],
        image=IMAGE,
        instance_type="ml.m7i.large",
        max_hours=2,
        key="KEY",
        vpc_id="vpc-1",
        subnet_ids=["subnet-a", "subnet-b"],
        subnets=2,
        cluster_made="acme-prod-main",
        cluster_security_group_id="sg-cluster",
        role="arn:aws:iam::333333333333:role/acme-prod-training",
        registry=WAY,
        signing=SIGNING,
    )
    return run(lambda: SageMakerPipelines("pipelines", args))


def test_each_model_has_a_pipeline_and_a_group(recording: Recording) -> None:
    pipelines = recording.of_type("aws:sagemaker/pipeline:Pipeline")
    groups = recording.of_type("aws:sagemaker/modelPackageGroup:ModelPackageGroup")

    assert set(pipelines) == set(groups) == {"flight", "loan"}
    assert pipelines["flight"].inputs["pipelineName"] == "acme-prod-training-flight"
    assert pipelines["flight"].inputs["roleArn"] == "arn:aws:iam::333333333333:role/acme-prod-training"
    assert "mark:" not in pipelines["flight"].inputs["pipelineDefinition"]
    assert recording.waits_for(pipelines["flight"], recording.only("aws:iam/rolePolicy:RolePolicy"))


def test_machines_reach_the_api_server_and_nobody_reaches_them(recording: Recording) -> None:
    group = recording.only("aws:ec2/securityGroup:SecurityGroup")
    way_in = recording.only("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule").inputs
    way_out = recording.only("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule").inputs

    assert "ingress" not in group.inputs
    assert (way_in["securityGroupId"], way_in["fromPort"], way_in["toPort"]) == ("sg-cluster", 443, 443)
    assert way_in["referencedSecurityGroupId"] == way_out["securityGroupId"] != "sg-cluster"
    assert (way_out["fromPort"], way_out["toPort"]) == (443, 443)


def test_the_role_of_training_is_let_through_to_the_registry_before_anything_runs(recording: Recording) -> None:
    entry = recording.only("aws:eks/accessEntry:AccessEntry")

    assert entry.inputs["principalArn"] == "arn:aws:iam::333333333333:role/acme-prod-training"
    assert entry.inputs["kubernetesGroups"] == [TRAINING]
    for pipeline in recording.of_type("aws:sagemaker/pipeline:Pipeline").values():
        assert recording.waits_for(pipeline, entry)


def test_right_over_the_registry_is_that_and_nothing_else(run: Run) -> None:
    made = run(lambda: ServiceAccess("training", registering("registry", "registry", 5000)))

    role = made.only("kubernetes:rbac.authorization.k8s.io/v1:Role").inputs
    [rule] = role["rules"]
    assert (rule["resources"], rule["resourceNames"]) == (["services/proxy"], ["registry:5000"])
    [subject] = made.only("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding").inputs["subjects"]
    assert subject["name"] == TRAINING
    path = Service.parse("registry/registry:5000").path
    assert path == proxy_path("registry", "registry", 5000)


def test_an_execution_uses_one_machine_at_a_time(recording: Recording) -> None:
    for pipeline in recording.of_type("aws:sagemaker/pipeline:Pipeline").values():
        assert pipeline.inputs["parallelismConfiguration"] == {"maxParallelExecutionSteps": 1}


def test_only_a_model_with_a_schedule_is_started_by_the_clock(recording: Recording) -> None:
    schedule = recording.only("aws:scheduler/schedule:Schedule")

    assert schedule.name == "flight"
    assert schedule.inputs["scheduleExpression"] == "cron(30 3 ? * MON,TUE,WED,THU,FRI *)"
    assert schedule.inputs["target"]["roleArn"] == "arn:aws:iam::333333333333:role/acme-prod-schedule"


def test_drift_of_a_model_starts_its_own_pipeline(recording: Recording, here: Cloud) -> None:
    rules = recording.of_type("aws:cloudwatch/eventRule:EventRule")
    targets = recording.of_type("aws:cloudwatch/eventTarget:EventTarget")

    assert json.loads(rules["drift-loan"].inputs["eventPattern"]) == drift.pattern(here, LOAN)
    notified = recording.only("aws:s3/bucketNotification:BucketNotification")
    assert (notified.inputs["bucket"], notified.inputs["eventbridge"]) == (here.names.bucket("data"), True)
    assert targets["drift-loan"].inputs["roleArn"] == "arn:aws:iam::333333333333:role/acme-prod-drift"


def test_who_starts_pipelines_may_start_these_and_no_other(here: Cloud) -> None:
    from fnmatch import fnmatchcase

    allowed = matrix.arn(here, "pipeline", "training")
    ours = here.arn("sagemaker", f"pipeline/{definitions.pipeline_name(here, FLIGHT)}")

    assert fnmatchcase(ours, allowed)
    assert not fnmatchcase(here.arn("sagemaker", "pipeline/acme-dev-training-flight"), allowed)
    starts = {
        one.service
        for one in matrix.MATRIX
        for grant in one.grants
        if grant.access == "send" and grant.kind == "pipeline"
    }
    assert starts == {"scheduler", "events"}


def test_the_pipeline_may_hand_over_its_own_role_only(recording: Recording) -> None:
    statements = json.loads(recording.only("aws:iam/rolePolicy:RolePolicy").inputs["policy"])["Statement"]

    [passes] = [one for one in statements if one["Action"] == ["iam:PassRole"]]
    assert passes["Resource"] == "arn:aws:iam::333333333333:role/acme-prod-training"
    assert passes["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("30 3 * * 1", "cron(30 3 ? * MON *)"),
        ("0 0 * * *", "cron(0 0 * * ? *)"),
        ("*/20 6-8 * * 0,7", "cron(0,20,40 6,7,8 ? * SUN *)"),
        ("15 2 1,15 * *", "cron(15 2 1,15 * ? *)"),
        ("0 4 * jan,jul sat", "cron(0 4 ? 1,7 SAT *)"),
    ],
)
def test_cron_is_said_as_aws_says_it(stated: str, expected: str) -> None:
    assert cron.expression(stated) == expected


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("0 3 1 * 1", "takes one of both"),
        ("0 3 l * *", "last day"),
        ("0 3 * *", "five cron fields"),
        ("61 3 * * *", "five"),
    ],
)
def test_cron_that_aws_cannot_say_is_refused(stated: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cron.expression(stated)
