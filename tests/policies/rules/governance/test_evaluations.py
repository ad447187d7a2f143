"""What must be known of a model: a report that passed, fairness, lineage, and that it is no worse than before."""

from dataclasses import replace
from typing import Any

import pytest

from policies.releases import evaluation as ev
from policies.rules.governance.evaluations import (
    release_evaluated,
    release_fair,
    release_lineage,
    release_no_worse,
)
from policies.testing import admit, defer, deny, step, undetermined, unknown
from tests.policies.rules.releases import checks, manifest, release

OLD = manifest("1")


def test_release_with_a_report_that_passed_is_admitted() -> None:
    admit(release_evaluated, release())


@pytest.mark.parametrize(
    ("stated", "path", "says"),
    [
        (manifest() | {"evaluation": None}, "manifest.evaluation", "it has no evaluation report"),
        (manifest() | {"evaluation": {"passed": True}}, "manifest.evaluation", "not well formed: evaluation.model"),
        (manifest(judged=checks(rocAuc=0.69)), "manifest.evaluation", "rocAuc is 0.69, must be at least 0.7"),
        (manifest(judged=checks()[1:]), "manifest.evaluation.checks", "no check of quality"),
        (manifest() | {"digest": "sha256:" + "b" * 64}, "manifest.evaluation.digest", "the evaluation is of digest"),
        (manifest() | {"dataDigest": None}, "manifest.evaluation.dataDigest", "the evaluation is of dataDigest"),
    ],
)
def test_release_without_a_report_that_passed_is_denied(stated: Any, path: str, says: str) -> None:
    deny(release_evaluated, release(stated), path=path, says=says)


def test_report_of_a_shadow_counts_as_well() -> None:
    shadow = {"version": "3", "manifest": manifest("3", judged=checks(gain=0.0))}
    deny(release_evaluated, release(shadows=[shadow]), path="shadows[0].manifest.evaluation", says="version 3")


def test_report_that_is_not_known_leaves_it_open() -> None:
    undetermined(release_evaluated, release(manifest() | {"evaluation": unknown()}))


def test_high_risk_needs_a_check_of_fairness_and_others_do_not() -> None:
    none = checks()[:-1]
    admit(release_fair, release(manifest(tier="high")), release(manifest(judged=none, groups=False)))
    deny(release_fair, release(manifest(tier="high", judged=none)), says="high risk and has no check of fairness")


def test_unfair_release_is_denied_by_one_rule_only() -> None:
    unfair = release(manifest(judged=checks(**{"selectionRatio by group": 0.7})))
    deny(release_fair, unfair, says="selectionRatio by group is 0.7, must be at least 0.8")
    admit(release_evaluated, unfair)


def test_fairness_without_groups_is_denied() -> None:
    deny(release_fair, release(manifest(groups=False)), says="name no groups")


def test_fairness_that_is_not_known_leaves_it_open() -> None:
    undetermined(release_fair, release(unknown()))


def test_whole_lineage_is_admitted() -> None:
    admit(release_lineage, release())


@pytest.mark.parametrize("name", ["run", "commit", "dataDigest", "lockDigest", "trainedBy", "trainedAt"])
def test_each_part_of_the_lineage_is_asked_for(name: str) -> None:
    deny(release_lineage, release(manifest() | {name: None}), path=f"manifest.{name}", says=f"{name} is missing")
    deny(release_lineage, release(manifest() | {name: " "}), path=f"manifest.{name}")


@pytest.mark.parametrize(
    ("name", "value"),
    [("commit", "main"), ("commit", "0" * 40), ("dataDigest", "sha256:" + "0" * 64), ("lockDigest", "e" * 64)],
)
def test_part_of_the_lineage_that_names_nothing_is_denied(name: str, value: str) -> None:
    deny(release_lineage, release(manifest() | {name: value}), says="which names nothing")


def test_lineage_that_is_not_known_leaves_it_open() -> None:
    undetermined(release_lineage, release(manifest() | {"run": unknown()}))


def test_manifest_that_is_missing_is_for_another_rule_to_say() -> None:
    bare = release(manifest())
    bare = replace(bare, inputs={**bare.inputs, "manifest": None})
    for rule in (release_evaluated, release_fair, release_lineage, release_no_worse):
        admit(rule, bare)


def update(new: Any, old: Any = OLD) -> Any:
    return step("update", release(old, version="1"), release(new))


@pytest.mark.parametrize("value", [0.8, 0.9, 0.772])
def test_better_equal_and_within_two_standard_errors_is_admitted(value: float) -> None:
    admit(release_no_worse, update(manifest(judged=checks(rocAuc=value))))


def test_worse_beyond_two_standard_errors_is_denied() -> None:
    # Errors of 0.01 each: the difference has sqrt(2) of it, and twice that is 0.0283.
    deny(release_no_worse, update(manifest(judged=checks(rocAuc=0.771))), says="worse by 0.029, allowed is 0.0283")


def test_without_errors_two_per_cent_are_allowed() -> None:
    old = manifest("1", error=None)
    admit(release_no_worse, update(manifest(judged=checks(rocAuc=0.785)), old))
    deny(release_no_worse, update(manifest(judged=checks(rocAuc=0.783)), old), says="allowed is 0.016")


def test_metric_that_is_better_when_lower_is_compared_that_way() -> None:
    def judged(value: float) -> Any:
        return (*checks(), ev.check("quality", "brier", value, "at-most", 0.5))

    old = manifest("1", judged=judged(0.1))
    admit(release_no_worse, update(manifest(judged=judged(0.05)), old))
    deny(release_no_worse, update(manifest(judged=judged(0.2)), old), says="brier is 0.2")


def test_limit_that_was_loosened_and_check_that_is_gone_are_denied() -> None:
    lax = (ev.check("quality", "rocAuc", 0.8, "at-least", 0.5), *checks()[1:])
    deny(release_no_worse, update(manifest(judged=lax)), says="the version before was held to at least 0.7")
    strict = (ev.check("quality", "rocAuc", 0.8, "at-least", 0.75), *checks()[1:])
    admit(release_no_worse, update(manifest(judged=strict)))
    deny(release_no_worse, update(manifest(judged=checks()[:-1])), says="selectionRatio by group (fairness)")


def test_robustness_may_vary_within_its_limits() -> None:
    admit(release_no_worse, update(manifest(judged=checks(loss=0.049, p99=19))))


def test_without_the_state_of_the_stack_the_environment_is_asked() -> None:
    found = defer(release_no_worse, release(previous=OLD), check="serving-version")
    assert found[0].check["previous"] == OLD["digest"]
    first = defer(release_no_worse, release(), check="serving-version")
    assert first[0].check["previous"] is None


def test_projects_own_version_before_is_compared_with() -> None:
    worse = release(manifest(judged=checks(rocAuc=0.7)), previous=OLD)
    deny(release_no_worse, worse, says="worse by 0.1", times=2)


def test_version_before_that_cannot_be_read_is_denied() -> None:
    deny(release_no_worse, update(manifest(), OLD | {"evaluation": None}), says="cannot be compared with")


def test_version_before_that_is_not_known_leaves_it_open() -> None:
    undetermined(release_no_worse, release(previous=unknown()), path="previous")


@pytest.mark.parametrize("family", ["quality", "baseline", "robustness", "latency"])
def test_each_family_of_checks_is_asked_for(family: str) -> None:
    judged = tuple(one for one in checks() if one.family != family)
    deny(release_evaluated, release(manifest(judged=judged)), says=f"no check of {family}")


def with_shadow(first: Any, second: Any) -> Any:
    return release(first, shadows=[{"version": "3", "manifest": second}])


def test_every_version_that_a_release_brings_is_looked_at() -> None:
    unfair = checks(**{"selectionRatio by group": 0.7})
    broken = manifest() | {"evaluation": None}
    deny(release_evaluated, with_shadow(broken, manifest("3") | {"evaluation": None}), times=2)
    deny(release_fair, with_shadow(manifest(judged=unfair), manifest("3", judged=unfair)), times=2)
    deny(release_fair, with_shadow(broken, manifest("3", judged=unfair)), says="version 3")
    deny(release_lineage, with_shadow(manifest() | {"run": None}, manifest("3") | {"run": None}), times=2)
    bare = with_shadow(manifest(), manifest("3") | {"evaluation": None})
    bare = replace(bare, inputs={**bare.inputs, "manifest": None})
    deny(release_evaluated, bare, says="version 3")


def test_every_check_of_fairness_is_looked_at() -> None:
    second = ev.check("fairness", "truePositiveDifference by group", 0.3, "at-most", 0.1)
    deny(release_fair, release(manifest(judged=(*checks(), second))), says="truePositiveDifference by group is 0.3")


def test_question_says_what_was_compared_with() -> None:
    assert "compared with (sha256:" in defer(release_no_worse, release(previous=OLD), check="serving-version")[0].text
    assert "compared" not in defer(release_no_worse, release(), check="serving-version")[0].text


def test_check_that_is_gone_does_not_hide_one_that_is_worse() -> None:
    def judged(brier: float) -> Any:
        return (*checks(), ev.check("quality", "brier", brier, "at-most", 0.5))

    old = manifest("1", judged=judged(0.1))
    deny(release_no_worse, update(manifest(judged=judged(0.2)[1:]), old), times=2)


def test_loss_within_the_room_is_admitted_in_both_directions() -> None:
    def judged(brier: float) -> Any:
        return (*checks(), ev.check("quality", "brier", brier, "at-most", 0.5))

    admit(release_no_worse, update(manifest(judged=judged(0.1015)), manifest("1", judged=judged(0.1))))


def test_equal_metrics_without_any_error_are_no_loss() -> None:
    admit(release_no_worse, update(manifest(error=0.0), manifest("1", error=0.0)))


def test_one_estimate_without_an_error_falls_back_to_the_share() -> None:
    deny(release_no_worse, update(manifest(judged=checks(rocAuc=0.78), error=None), OLD), says="allowed is 0.016")
    old = manifest("1", error=None)
    deny(release_no_worse, update(manifest(judged=checks(rocAuc=0.78)), old), says="allowed is 0.016")
