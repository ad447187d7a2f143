"""What is asked of the account and of the controller: real protocols, answered on loopback."""

from typing import Any

import boto3
import pytest
from botocore.config import Config

from infra.gating.checks import answers, controller_checks, quota_check
from policies.evaluation import Finding
from tests.conftest import Neighbour

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def asked(check: str, level: Any = "mandatory", **arguments: Any) -> Finding:
    return Finding(
        rule="reliability.quota",
        status="deferred",
        level=level,
        severity="high",
        text="the quota",
        urn="a::b::c::pool",
        check={"name": check, **arguments},
    )


def client(url: str) -> Any:
    return boto3.client(
        "service-quotas", region_name="eu-central-1", endpoint_url=url, aws_access_key_id="x",
        aws_secret_access_key="x", config=Config(retries={"max_attempts": 1}, connect_timeout=30, read_timeout=30),
    )  # fmt: skip


def quota(url: str, needed: float) -> tuple[str, str]:
    finding = asked("quota", service="ec2", quota="L-1216C47A", needed=needed)
    (found,) = answers([finding], {"quota": quota_check(lambda: client(url))})
    return found.answer, found.text


QUOTA = {"Quota": {"QuotaCode": "L-1216C47A", "QuotaName": "Standard instances", "Value": 64.0}}


@pytest.mark.parametrize(("needed", "answer"), [(64, "passed"), (65, "failed")])
def test_a_quota_is_asked_of_the_account(neighbour: Any, needed: float, answer: str) -> None:
    made: Neighbour = neighbour(lambda _method, _path, _body: (200, QUOTA))

    assert quota(made.url, needed) == (
        answer, f"the quota: Standard instances (ec2 L-1216C47A) is 64 in this account, {needed} may be needed",
    )  # fmt: skip
    assert made.headers[0]["x-amz-target"] == "ServiceQuotasV20190624.GetServiceQuota"
    assert made.requests[0][2] == {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}


def test_a_quota_that_nobody_changed_is_awss_default(neighbour: Any) -> None:
    replies = [(400, {"__type": "NoSuchResourceException", "message": "none"}), (200, QUOTA)]
    made: Neighbour = neighbour(lambda _method, _path, _body: replies.pop(0))

    assert quota(made.url, 32)[0] == "passed"
    assert made.headers[1]["x-amz-target"] == "ServiceQuotasV20190624.GetAWSDefaultServiceQuota"


def test_a_quota_is_unanswered_when_the_account_refuses(neighbour: Any) -> None:
    made: Neighbour = neighbour(lambda *_: (400, {"__type": "AccessDeniedException", "message": "not you"}))

    answer, text = quota(made.url, 1)

    assert answer == "unanswered"
    assert "not you" in text


def test_a_quota_is_unanswered_when_nobody_is_there(free_port: int) -> None:
    assert quota(f"http://127.0.0.1:{free_port}", 1)[0] == "unanswered"


def controller(neighbour: Any, status: int = 200, **seen: Any) -> Any:
    made: Neighbour = neighbour(lambda *_: (status, {"model": "churn", **seen} if status == 200 else {"error": "no"}))
    return controller_checks(lambda: {"url": made.url, "token": "letmein"})


@pytest.mark.parametrize(
    ("listed", "answer"), [({}, "passed"), ({OTHER: "slow"}, "passed"), ({DIGEST: "slow"}, "failed")]
)
def test_a_quarantine_is_asked_of_the_controller(neighbour: Any, listed: dict[str, str], answer: str) -> None:
    checks = controller(neighbour, quarantined=listed)

    (found,) = answers([asked("quarantine", model="churn", digest=DIGEST)], checks)

    assert found.answer == answer
    assert ("slow" in found.text) is (answer == "failed")


@pytest.mark.parametrize(
    ("served", "previous", "answer"),
    [
        ({"digest": OTHER}, OTHER, "passed"),
        ({"digest": DIGEST}, OTHER, "passed"),
        (None, None, "passed"),
        ({"digest": OTHER}, None, "failed"),
        (None, OTHER, "passed"),
    ],
)
def test_what_is_served_is_what_was_compared_with(neighbour: Any, served: Any, previous: Any, answer: str) -> None:
    checks = controller(neighbour, served=served)

    (found,) = answers([asked("serving-version", model="churn", digest=DIGEST, previous=previous)], checks)

    assert found.answer == answer


def test_a_controller_that_refuses_answers_nothing(neighbour: Any) -> None:
    (found,) = answers([asked("quarantine", model="churn", digest=DIGEST)], controller(neighbour, status=403))

    assert found.answer == "unanswered"


def test_where_there_is_no_environment_nothing_was_seen_to_fail() -> None:
    (found,) = answers([asked("quarantine", model="churn", digest=DIGEST)], controller_checks(lambda: None))

    assert found.answer == "passed"


def test_a_question_without_a_check_or_with_half_its_arguments_is_unanswered() -> None:
    found = answers([asked("weather"), asked("quarantine", model="churn")], controller_checks(lambda: None))

    assert [one.answer for one in found] == ["unanswered", "unanswered"]
    assert "there is no check 'weather', only quarantine, serving-version" in found[0].text
    assert all(one.stops for one in found)


def test_the_same_question_is_asked_once_and_findings_that_ask_nothing_are_left() -> None:
    calls: list[Any] = []

    def check(arguments: Any) -> tuple[bool, str]:
        calls.append(arguments)
        return True, "fine"

    failed = Finding(rule="a.b", status="failed", level="mandatory", severity="high", text="x")

    found = answers(
        [asked("quota", needed=1), asked("quota", needed=1), failed, asked("quota", needed=2)], {"quota": check}
    )

    assert len(found) == 3
    assert calls == [{"needed": 1}, {"needed": 2}]


def test_a_question_that_nobody_must_answer_does_not_stop() -> None:
    assert not answers([asked("weather", level="advisory")], {})[0].stops
