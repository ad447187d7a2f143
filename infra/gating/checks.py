"""What a plan cannot tell: quotas of the account, and what the rollout controller knows of a model.

A check is named by the rule that defers to it (`policies.rule.Deferred`). Each answer is recorded in the verdict; who
cannot be asked, or is asked for something that no check is for, leaves the question unanswered, which stops.

| check | arguments | asks |
|---|---|---|
| `quota` | service, quota (code), needed | Service Quotas, whether the account may have so much |
| `quarantine` | model, digest | the controller, whether it has seen the digest fail |
| `serving-version` | model, digest, previous | the controller, whether it serves what was compared with, or nothing |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from infra.provider.release_controller import Controller, quarantined
from infra.provider.resource import ResourceError
from policies.evaluation import Finding
from policies.gates.verdict import Answered
from policies.plan import name_of

if TYPE_CHECKING:
    from botocore.client import BaseClient

Check = Callable[[Mapping[str, Any]], tuple[bool, str]]
"""Takes the arguments; returns whether all is well, and what was found, in words."""


class UnansweredError(Exception):
    """Nobody could say; the text says why."""


def answers(findings: Iterable[Finding], checks: Mapping[str, Check]) -> list[Answered]:
    """Ask everything that rules have deferred, each question once.

    Args:
        findings: what the rules said.
        checks: the checks by name.
    """
    asked: dict[str, tuple[Any, str]] = {}
    found = []
    for one in findings:
        if one.status != "deferred":
            continue
        arguments = {name: value for name, value in one.check.items() if name != "name"}
        name = str(one.check.get("name", ""))
        key = repr((name, sorted(arguments.items(), key=lambda item: item[0])))
        if key not in asked:
            asked[key] = _ask(name, arguments, checks)
        answer, text = asked[key]
        found.append(
            Answered(
                rule=one.rule, subject=name_of(one.urn) or "stack", check=name, arguments=arguments,
                mandatory=one.level == "mandatory", answer=answer, text=f"{one.text}: {text}",
            )
        )  # fmt: skip
    return found


def _ask(name: str, arguments: Mapping[str, Any], checks: Mapping[str, Check]) -> tuple[str, str]:
    check = checks.get(name)
    if check is None:
        return "unanswered", f"there is no check {name!r}, only {', '.join(sorted(checks)) or 'none'}"
    try:
        well, text = check(arguments)
    except UnansweredError as error:
        return "unanswered", str(error)
    except KeyError as error:
        return "unanswered", f"the rule does not say {error}"
    except Exception as error:  # noqa: BLE001 - whatever a check trips over, nobody has answered
        return "unanswered", f"{type(error).__name__}: {error}"
    return ("passed" if well else "failed"), text


def quota_check(client: Callable[[], BaseClient]) -> Check:
    """Return the check of quotas: whether the account's quota is at least what the plan may need.

    Quotas that the account never changed are answered by AWS's default. What other things in the account use of a
    quota is not known to Service Quotas, and so not to the check.

    Args:
        client: makes the client of Service Quotas.
    """

    def check(arguments: Mapping[str, Any]) -> tuple[bool, str]:
        from botocore.exceptions import BotoCoreError, ClientError

        service, code, needed = str(arguments["service"]), str(arguments["quota"]), float(arguments["needed"])
        asked = {"ServiceCode": service, "QuotaCode": code}
        try:
            quotas: Any = client()
            try:
                quota = quotas.get_service_quota(**asked)["Quota"]
            except quotas.exceptions.NoSuchResourceException:
                quota = quotas.get_aws_default_service_quota(**asked)["Quota"]
            allowed = float(quota["Value"])
        except (BotoCoreError, ClientError) as error:
            raise UnansweredError(f"Service Quotas does not answer for {service} {code}: {error}") from None
        name = quota.get("QuotaName") or code
        return needed <= allowed, f"{name} ({service} {code}) is {allowed:g} in this account, {needed:g} may be needed"

    return check


def controller_checks(control: Callable[[], Mapping[str, Any] | None]) -> dict[str, Check]:
    """Return the checks that the rollout controller answers.

    Args:
        control: returns how it is reached (`url`, `token`, and the `proxy` before it), or None where the environment is
            not there yet: then nothing is served and nothing was seen to fail.
    """

    def model(name: str) -> Mapping[str, Any] | None:
        reached = control()
        if reached is None:
            return None
        try:
            return Controller({"controller": dict(reached), "model": name}).model()
        except ResourceError as error:
            raise UnansweredError(f"the rollout controller does not answer: {error}") from None

    def quarantine(arguments: Mapping[str, Any]) -> tuple[bool, str]:
        seen = model(str(arguments["model"]))
        why = quarantined(seen or {}).get(str(arguments["digest"]))
        return why is None, f"it is in quarantine: {why}" if why is not None else "it is not in quarantine"

    def serving_version(arguments: Mapping[str, Any]) -> tuple[bool, str]:
        seen = model(str(arguments["model"]))
        served = ((seen or {}).get("served") or {}).get("digest")
        # A first release takes nothing's place: what the project had approved before was never served here.
        return served in (None, arguments["previous"], arguments["digest"]), f"{served or 'nothing'} is served"

    return {"quarantine": quarantine, "serving-version": serving_version}
