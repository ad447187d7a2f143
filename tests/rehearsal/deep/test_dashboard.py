"""What KubeRay's operator is answered where Ray's dashboard would answer it."""

import http.client
import json
from typing import Any

import pytest

from infra.rehearsal.deep.dashboard import PATH, Dashboards, Head, proxy

ADDRESS = f"http://inference-head-svc.serving.svc.cluster.local:8265{PATH}"
TOKEN = {"x-ray-authorization": "Bearer secret"}
SETTINGS = json.dumps({"applications": [{"name": "shared", "route_prefix": "/v2"}]}).encode()


def dashboards(head: Head | str = Head("serving/one", "secret", 1), judged: list[str] | None = None) -> Dashboards:  # noqa: B008
    return Dashboards(head=lambda _space, _service, _port: head, judge=lambda _text: judged)


def state(found: Dashboards) -> dict[str, Any]:
    status, document = found.answer("GET", ADDRESS + "?api_type=declarative", TOKEN, b"")
    assert status == 200
    return dict(document)


def test_head_is_looked_up_by_the_name_and_port_of_its_service() -> None:
    asked = []

    def head(space: str, service: str, port: int) -> str:
        asked.append((space, service, port))
        return "there is no Service"

    status, document = Dashboards(head=head, judge=lambda _text: []).answer("GET", ADDRESS, TOKEN, b"")
    assert asked == [("serving", "inference-head-svc", 8265)]
    assert (status, document["error"]) == (502, "there is no Service")


def test_token_must_be_that_of_the_cluster() -> None:
    found = dashboards()
    assert found.answer("GET", ADDRESS, {}, b"")[0] == 401
    assert found.answer("GET", ADDRESS, {"x-ray-authorization": "Bearer other"}, b"")[0] == 401
    assert dashboards(Head("serving/one", None, 1)).answer("GET", ADDRESS, {}, b"")[0] == 200


def test_nothing_runs_before_settings_came() -> None:
    assert state(dashboards())["applications"] == {}


@pytest.mark.parametrize(
    ("workers", "judged", "status"),
    [(1, [], "RUNNING"), (0, [], "DEPLOYING"), (1, None, "DEPLOYING"), (1, ["applications: wrong"], "DEPLOY_FAILED")],
)
def test_applications_run_once_they_are_judged_well_and_a_worker_is_ready(
    workers: int, judged: list[str] | None, status: str
) -> None:
    found = dashboards(Head("serving/one", "secret", workers), judged)
    assert found.answer("PUT", ADDRESS, TOKEN, SETTINGS)[0] == 200
    assert state(found)["applications"]["shared"]["status"] == status


def test_clusters_have_settings_of_their_own() -> None:
    heads = {"old": Head("serving/old", None, 1), "new": Head("serving/new", None, 1)}
    found = Dashboards(head=lambda _space, service, _port: heads[service], judge=lambda _text: [])
    assert found.answer("PUT", f"http://old.serving.svc.cluster.local:8265{PATH}", {}, SETTINGS)[0] == 200
    _status, document = found.answer("GET", f"http://new.serving.svc.cluster.local:8265{PATH}", {}, b"")
    assert document["applications"] == {}


def test_share_of_capacity_is_told_again_and_is_no_other_configuration() -> None:
    judged: set[str] = set()

    def judge(settings: str) -> list[str]:
        judged.add(settings)
        return []

    found = Dashboards(head=lambda _space, _service, _port: Head("serving/one", None, 1), judge=judge)
    for capacity in (10, 20):
        found.answer("PUT", ADDRESS, {}, json.dumps({**json.loads(SETTINGS), "target_capacity": capacity}).encode())
    assert state(found)["target_capacity"] == 20
    assert len(judged) == 1


def test_what_is_not_played_is_refused_and_told() -> None:
    found = dashboards()
    assert found.answer("GET", "http://a.serving.svc.cluster.local:8265/api/jobs/", TOKEN, b"")[0] == 404
    assert found.unknown == ["GET /api/jobs/"]
    assert found.answer("PUT", ADDRESS, TOKEN, b"{")[0] == 400
    assert found.answer("PUT", ADDRESS, TOKEN, b"[]")[0] == 400


def test_dashboards_are_reached_through_a_proxy_on_loopback() -> None:
    with proxy(dashboards(judged=[])) as address:
        host = address.removeprefix("http://")
        assert host.startswith("127.0.0.1:")
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request("PUT", ADDRESS, body=SETTINGS, headers=TOKEN)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (200, {})
        connection.request("GET", ADDRESS, headers=TOKEN)
        assert json.loads(connection.getresponse().read())["applications"]["shared"]["status"] == "RUNNING"
        connection.close()
