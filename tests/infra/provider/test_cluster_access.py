"""The way to the controller through a cluster's API server: what is shown to whom, and whose answer counts."""

import base64
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from infra.provider import cluster_access, rest
from infra.provider.release_controller import Controller
from infra.provider.resource import ResourceError
from infra.rehearsal.kubernetes import certificates

STATUS = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No credentials of AWS but those that a test states, and no token that another test has signed."""
    for name in (
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        cluster_access.TOKEN,
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    cluster_access._tokens.clear()
    yield
    cluster_access._tokens.clear()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-key")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    authority = certificates.make(tmp_path_factory.mktemp("certificates")).authority.read_bytes()
    return {
        "cluster": "acme-prod-main",
        "region": "eu-central-1",
        "authority": base64.b64encode(authority).decode(),
    }


@pytest.fixture
def controller(proxy: dict[str, str]) -> Controller:
    reached = {"url": "https://eks.example/api/v1/x/proxy", "token": "ADMIN", "proxy": proxy}
    return Controller({"model": "loan", "controller": reached})


def signed() -> urllib.parse.SplitResult:
    token = cluster_access.signed_token("acme-prod-main", "eu-central-1")
    head, _, body = token.partition(".")
    assert head == "k8s-aws-v1"
    assert "=" not in body
    return urllib.parse.urlsplit(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode())


@pytest.mark.usefixtures("credentials")
def test_a_token_is_a_signed_question_to_sts_that_names_the_cluster() -> None:
    asked = signed()
    query = urllib.parse.parse_qs(asked.query)

    assert asked.netloc == "sts.eu-central-1.amazonaws.com"
    assert query["Action"] == ["GetCallerIdentity"]
    assert query["X-Amz-SignedHeaders"] == ["host;x-k8s-aws-id"]
    assert query["X-Amz-Expires"] == ["60"]
    assert query["X-Amz-Security-Token"] == ["session"]
    assert "secret-key" not in asked.geturl()


@pytest.mark.usefixtures("credentials")
def test_the_token_of_one_cluster_is_not_that_of_another() -> None:
    one = cluster_access.signed_token("acme-prod-main", "eu-central-1")

    assert one != cluster_access.signed_token("acme-dev-main", "eu-central-1")


@pytest.mark.usefixtures("credentials")
def test_a_token_is_signed_again_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("infra.provider.cluster_access.time.monotonic", lambda: now[0])
    monkeypatch.setattr(cluster_access, "signed_token", lambda *_: f"token-{now[0]:.0f}")

    first = cluster_access.cluster_token("c", "r")
    now[0] += 599
    kept = cluster_access.cluster_token("c", "r")
    now[0] += 1
    new = cluster_access.cluster_token("c", "r")

    assert (first, kept, new) == ("token-100", "token-100", "token-700")


def test_without_credentials_it_says_how_to_get_some() -> None:
    with pytest.raises(ResourceError, match=r"no credentials of AWS.*aws sso login"):
        cluster_access.signed_token("acme-prod-main", "eu-central-1")


def test_a_stated_token_is_shown_instead(proxy: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cluster_access.TOKEN, "STATED")

    assert cluster_access.headers(proxy, "ADMIN") == {
        "authorization": "Bearer STATED",
        "x-mlops-authorization": "Bearer ADMIN",
    }


def test_an_authority_that_is_no_certificate_is_refused(proxy: dict[str, str]) -> None:
    with pytest.raises(ResourceError, match="certificate authority of cluster acme-prod-main"):
        cluster_access.context({**proxy, "authority": base64.b64encode(b"nothing").decode()})


Asked = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What is sent; the answers are in `ANSWERS`, by turns."""
    monkeypatch.setenv(cluster_access.TOKEN, "STATED")
    sent: Asked = []

    def request(method: str, address: str, **options: Any) -> rest.Answer:
        sent.append((method, address, options))
        return ANSWER[0]

    monkeypatch.setattr(rest, "request", request)
    return sent


ANSWER = [rest.Answer(200, {})]


def test_the_controllers_token_never_travels_as_that_of_the_api_server(controller: Controller, asked: Asked) -> None:
    ANSWER[0] = rest.Answer(200, {"model": "loan"})

    assert controller.model() == {"model": "loan"}

    method, address, options = asked[0]
    assert (method, address) == ("GET", "https://eks.example/api/v1/x/proxy/v1/models/loan")
    assert options["headers"] == {"authorization": "Bearer STATED", "x-mlops-authorization": "Bearer ADMIN"}
    assert options.get("token") is None
    assert options["context"].get_ca_certs()


@pytest.mark.usefixtures("asked")
def test_a_service_that_is_not_there_is_no_unknown_model(controller: Controller) -> None:
    ANSWER[0] = rest.Answer(404, {**STATUS, "code": 404, "message": 'services "control" not found'})

    with pytest.raises(ResourceError, match=r'does not let us through.*services "control" not found'):
        controller.model()


@pytest.mark.usefixtures("asked")
def test_an_unknown_model_is_what_the_controller_says_so_of(controller: Controller) -> None:
    ANSWER[0] = rest.Answer(404, {"error": "no such model"})

    assert controller.model() is None


@pytest.mark.usefixtures("asked")
def test_a_role_without_the_right_is_told_which_setting_names_roles(controller: Controller) -> None:
    ANSWER[0] = rest.Answer(403, {**STATUS, "code": 403, "message": "services is forbidden"})

    with pytest.raises(ResourceError, match=r"aws\.kubernetes\.releaseRoles") as caught:
        controller.withdraw()
    assert not isinstance(caught.value, rest.UnreachableError)


@pytest.mark.usefixtures("asked")
def test_a_controller_that_is_down_behind_the_api_server_is_waited_for(controller: Controller) -> None:
    ANSWER[0] = rest.Answer(503, {**STATUS, "code": 503, "message": "no endpoints available"})

    with pytest.raises(rest.UnreachableError, match="no endpoints available"):
        controller.model()


def test_without_a_proxy_the_controller_is_asked_itself(asked: Asked) -> None:
    ANSWER[0] = rest.Answer(200, {"model": "loan"})

    Controller({"model": "loan", "controller": {"url": "http://127.0.0.1:8090", "token": "ADMIN"}}).model()

    assert asked[0][2]["token"] == "ADMIN"
    assert "headers" not in asked[0][2]
