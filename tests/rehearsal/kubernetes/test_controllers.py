"""What is done in the controllers' place, while the engine deletes many objects at a time."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.rehearsal.kubernetes import controllers
from infra.rehearsal.kubernetes.api_server import ApiServer
from infra.rehearsal.kubernetes.client import Client, Kind, Object

pytestmark = [pytest.mark.engine, pytest.mark.slow]

NAMESPACE = Kind("v1", "Namespace", "namespaces", False, frozenset())
QUOTA = Kind("v1", "ResourceQuota", "resourcequotas", True, frozenset())
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps", True, frozenset())

_numbers = itertools.count()


class Overtaken(Client):
    """A client whose changes come after another's: `before` is called ahead of the first one."""

    before: Callable[[], object] | None = None

    def request(self, method: str, path: str, **given: Any) -> Any:
        if method == "PATCH" and self.before is not None:
            before, self.before = self.before, None
            before()
        return super().request(method, path, **given)


@pytest.fixture
def client(server: ApiServer) -> Iterator[Overtaken]:
    made = Overtaken(server.url, server.ca, server.token)
    yield made
    assert made.before is None, "nothing was changed: no call was overtaken"
    made.close()


@pytest.fixture
def namespace(server: ApiServer) -> Iterator[str]:
    name = f"controllers-{next(_numbers)}"
    server.client.create(NAMESPACE, None, described(NAMESPACE, name))
    yield name
    controllers.delete(server.client, NAMESPACE, None, name)


def described(kind: Kind, name: str, **rest: Any) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name}, **rest}


def test_quota_deleted_while_it_is_counted_is_no_error(server: ApiServer, client: Overtaken, namespace: str) -> None:
    server.client.create(QUOTA, namespace, described(QUOTA, "quota", spec={"hard": {"count/configmaps": "5"}}))
    client.before = lambda: server.client.delete(QUOTA, namespace, "quota")
    controllers.count_quotas(client, namespace)
    assert server.client.get(QUOTA, namespace, "quota") is None


def test_quota_is_counted_after_each_deletion(server: ApiServer, namespace: str) -> None:
    server.client.create(QUOTA, namespace, described(QUOTA, "quota", spec={"hard": {"count/configmaps": "5"}}))
    controllers.count_quotas(server.client, namespace)
    for name in ("one", "two"):
        server.client.create(CONFIG_MAP, namespace, described(CONFIG_MAP, name))
    controllers.delete(server.client, CONFIG_MAP, namespace, "one")
    found = server.client.get(QUOTA, namespace, "quota")
    assert found
    assert found["status"]["used"] == {"count/configmaps": "1"}


def test_object_let_go_by_another_is_gone(server: ApiServer, client: Overtaken, namespace: str) -> None:
    body = described(CONFIG_MAP, "kept")
    body["metadata"]["finalizers"] = ["kubernetes.io/pvc-protection"]
    server.client.create(CONFIG_MAP, namespace, body)
    client.before = lambda: controllers.delete(server.client, CONFIG_MAP, namespace, "kept")
    controllers.delete(client, CONFIG_MAP, namespace, "kept")
    assert server.client.get(CONFIG_MAP, namespace, "kept") is None
