"""The provider's configuration."""

import base64
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from infra.provider.codec import UNKNOWN, Secret
from infra.rehearsal.kubernetes import charts, configuration
from infra.rehearsal.kubernetes.configuration import ConfigurationError


def kubeconfig(server: str = "https://127.0.0.1:6443", **cluster: Any) -> dict[str, Any]:
    content = {"server": server, "certificate-authority-data": base64.b64encode(b"PEM").decode(), **cluster}
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": content}],
        "users": [{"name": "u", "user": {"exec": {"command": "aws"}}}],
    }


def test_server_and_authority_come_from_the_kubeconfig() -> None:
    settings = configuration.read({"kubeconfig": Secret(json.dumps(kubeconfig()))})
    assert (settings.server, settings.ca, settings.namespace) == ("https://127.0.0.1:6443", "PEM", "default")
    assert not settings.mutable_config_maps


def test_kubeconfig_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(json.dumps(kubeconfig("https://localhost:1")))
    assert configuration.read({"kubeconfig": str(tmp_path / "config")}).server == "https://localhost:1"


def test_flags_arrive_as_texts() -> None:
    settings = configuration.read(
        {"kubeconfig": json.dumps(kubeconfig()), "enableConfigMapMutable": "true", "namespace": "models"}
    )
    assert settings.mutable_config_maps
    assert not settings.mutable_secrets
    assert settings.namespace == "models"


@pytest.mark.parametrize("server", ["https://10.0.0.1", "https://abc.gr7.eu-west-1.eks.amazonaws.com"])
def test_server_elsewhere_is_refused(server: str) -> None:
    with pytest.raises(ConfigurationError, match="never talks to a cluster"):
        configuration.read({"kubeconfig": json.dumps(kubeconfig(server))})


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (None, "must be given"),
        ("/nowhere/at/all", "neither a document"),
        ("{nonsense", "is no YAML"),
        ("{}", "current context"),
        (json.dumps(kubeconfig(**{"certificate-authority-data": "?"})), "certificate-authority-data"),
    ],
)
def test_kubeconfig_that_cannot_be_used_is_named(given: str | None, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        configuration.read({"kubeconfig": given})


def test_unknown_setting_is_named() -> None:
    found = configuration.problems({"kubeconfig": UNKNOWN, "enableConfigMapMutabel": "true"})
    assert len(found) == 1
    assert found[0].startswith("enableConfigMapMutabel: the provider has no such setting")


@pytest.mark.slow
def test_settings_and_release_inputs_are_those_of_the_sdk() -> None:
    from pulumi_kubernetes import ProviderArgs
    from pulumi_kubernetes.helm.v3 import ReleaseArgs

    def names(arguments: type) -> set[str]:
        parts = [name.split("_") for name in inspect.signature(arguments).parameters]
        found = {first + "".join(part.title() for part in rest) for first, *rest in parts}
        return {{"disableCrdHooks": "disableCRDHooks"}.get(name, name) for name in found}

    assert names(ProviderArgs) <= configuration.KEYS
    assert names(ReleaseArgs) <= charts.INPUTS


def test_release_is_judged_as_far_as_it_can_be() -> None:
    good = {"chart": "karpenter", "version": "1.15.1", "repositoryOpts": {"repo": "https://charts.example"}}
    assert charts.check(good, {}, "karpenter-1", "default") == (
        {**good, "name": "karpenter-1", "namespace": "default"},
        [],
    )
    _, problems = charts.check({"versoin": "1", "repositoryOpts": {"url": "x"}}, {}, "n", "default")
    assert [problem.partition(":")[0] for problem in problems] == ["versoin", "chart", "repositoryOpts.url"]


def test_release_keeps_the_name_that_was_made_for_it() -> None:
    inputs, _ = charts.check({"chart": "./c"}, {"name": "karpenter-1"}, "karpenter-2", "default")
    assert inputs["name"] == "karpenter-1"
