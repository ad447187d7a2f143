"""What can be gone back to, and what nobody goes to."""

from datetime import timedelta
from typing import Any

from policies.plan import Resource
from policies.rules.rollback.previous import last_version_kept, not_quarantined, previous_version
from policies.testing import NOW, admit, defer, deny, reads_nothing_unknown, step, undetermined, unknown
from tests.policies.rules.releases import manifest, release

OLD = manifest("1")


def update(old: Any = OLD) -> Any:
    return step("update", release(old, version="1"), release())


def test_version_before_that_is_approved_is_admitted() -> None:
    admit(previous_version, update())


def test_version_before_whose_approvals_ended_is_denied() -> None:
    ended = manifest("1", expires=NOW - timedelta(minutes=1))
    deny(previous_version, update(ended), says="version 1 cannot be gone back to", path="previous")
    deny(previous_version, release(previous=ended), times=2, says="it expired at")


def test_version_before_that_failed_its_evaluation_or_is_broken_is_denied() -> None:
    deny(previous_version, update(OLD | {"commit": "main"}), says="not well formed")


def test_release_of_what_is_released_already_says_nothing_of_the_one_before() -> None:
    again = step("update", release(), release(previous=OLD))
    assert defer(previous_version, again, check="serving-version")[0].check["previous"] == OLD["digest"]


def test_environment_is_asked_where_the_stack_does_not_know() -> None:
    assert defer(previous_version, release(previous=OLD), check="serving-version")[0].check["previous"] == OLD["digest"]
    assert defer(previous_version, release(), check="serving-version")[0].check["previous"] is None


def test_release_without_trust_is_for_another_rule_to_say() -> None:
    defer(previous_version, release(previous=OLD, trust=None), check="serving-version")


def test_version_before_that_is_not_known_leaves_it_open() -> None:
    undetermined(previous_version, release(previous=unknown()), path="previous")


def test_digest_that_the_settings_name_is_denied_and_any_other_left_to_the_controller() -> None:
    digest = manifest()["digest"]
    found = defer(not_quarantined, release(), check="quarantine")
    assert (found[0].check["model"], found[0].check["digest"]) == ("loans", digest)
    listed = {"gates.quarantined": [digest]}
    deny(not_quarantined, release(), settings=listed, path="manifest.digest", setting="gates.quarantined")


def test_shadow_is_asked_about_as_well() -> None:
    with_shadow = release(shadows=[{"version": "3", "manifest": manifest("3")}])
    assert len(defer(not_quarantined, with_shadow, check="quarantine")) == 2
    listed = {"gates.quarantined": [manifest("3")["digest"]]}
    deny(not_quarantined, with_shadow, settings=listed, times=2, path="shadows[0].manifest.digest")


def test_every_shadow_is_asked_about() -> None:
    shadows = [{"version": one, "manifest": manifest(one)} for one in ("3", "4")]
    assert len(defer(not_quarantined, release(shadows=shadows), check="quarantine")) == 3


def test_release_without_a_manifest_is_for_another_rule_to_say() -> None:
    admit(not_quarantined, bare())


def bare() -> Resource:
    return Resource(urn=release().urn, type=release().type, inputs={**release().inputs, "manifest": None})


def test_digest_that_is_not_known_leaves_it_open() -> None:
    undetermined(not_quarantined, release(unknown()), path="manifest")


def test_release_stays() -> None:
    old = release(OLD)
    admit(last_version_kept, update())
    admit(last_version_kept, step("create", None, release()))
    deny(last_version_kept, step("delete", old), says="deletes the release of loans", at=old)
    deny(last_version_kept, step("replace", old, release()), says="replaces the release of loans")


def test_what_a_step_does_is_always_known() -> None:
    reads_nothing_unknown(
        last_version_kept, step("replace", release(OLD), release()), why="it reads the operation and the old model only"
    )


def test_question_says_what_would_be_right() -> None:
    assert ", or sha256:" in defer(previous_version, release(previous=OLD), check="serving-version")[0].text
    assert "there is nothing before it" in defer(previous_version, release(), check="serving-version")[0].text
    assert defer(previous_version, bare(), check="serving-version")[0].check.get("digest") is None
    assert defer(previous_version, release(), check="serving-version")[0].check["digest"] == manifest()["digest"]


def test_quarantine_of_one_does_not_hide_that_of_a_shadow() -> None:
    with_shadow = release(shadows=[{"version": "3", "manifest": manifest("3")}])
    listed = {"gates.quarantined": [manifest()["digest"], manifest("3")["digest"]]}
    deny(not_quarantined, with_shadow, settings=listed, times=2)
    unnamed = Resource(urn=with_shadow.urn, type=with_shadow.type, inputs={**with_shadow.inputs, "manifest": None})
    deny(not_quarantined, unnamed, settings=listed, path="shadows[0].manifest.digest")


def test_what_is_asked_of_the_environment_names_both_digests() -> None:
    (found,) = defer(previous_version, release(previous=OLD), check="serving-version")
    assert (found.check["digest"], found.check["previous"]) == (manifest()["digest"], OLD["digest"])
    assert OLD["digest"] in found.text
    (first,) = defer(previous_version, release(), check="serving-version")
    assert "serves nothing yet" in first.text
