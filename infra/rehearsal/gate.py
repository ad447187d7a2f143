"""The gate of a rehearsed stack: its policies judge the very plan, and its keys are made for this rehearsal alone.

The trust root is `rehearsal`, which a gate accepts only where AWS is played on this machine. What a person would break
the glass for (protection is lifted before the end) two made-up people break it for here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from infra.engine.stack import Stack
from infra.gating.assessment import Assessment, assess
from infra.gating.checks import answers, controller_checks, quota_check
from infra.gating.verdicts import KEY, gate_inputs, gated, write_verdict
from policies.gates import breakglass, verdict
from policies.gates.breakglass import BreakGlass, witnessed
from policies.gates.files import FOLDER, break_glass_file, write
from policies.gates.verdict import stop_of
from policies.pack.servicer import clock
from policies.releases.keys import REHEARSAL, AllowedSigner, key_signer, make_key
from policies.releases.signing import PrivateKey, public_key
from policies.rules import all_rules

_JUDGE = "gate@rehearsal"
_PEOPLE = ("one@rehearsal", "two@rehearsal")
_HOURS = 4


@dataclass(frozen=True)
class RehearsedGate:
    """The gate of one rehearsal.

    Attributes:
        project: the project's folder.
        region: region that is asked for quotas.
        folder: where keys, verdict, statement and ledger lie.
        control: how the rollout controller is reached; None where there is none yet.
    """

    project: Path
    region: str
    folder: Path
    control: Callable[[], Mapping[str, Any] | None] = lambda: None

    @cached_property
    def _keys(self) -> Mapping[str, PrivateKey]:
        return {name: make_key(self.folder / "keys" / name, name) for name in (_JUDGE, *_PEOPLE)}

    def settings(self) -> Mapping[str, Any]:
        """Make the keys; return the settings by which the gate trusts them."""
        spaces = {_JUDGE: verdict.NAMESPACE, **dict.fromkeys(_PEOPLE, breakglass.NAMESPACE)}
        lines = [AllowedSigner((name,), (spaces[name],), public_key(key)).line() for name, key in self._keys.items()]
        file = self.folder / "allowed_signers"
        file.write_text("".join(f"{line}\n" for line in lines))
        stated = file.relative_to(self.project) if file.is_relative_to(self.project) else file
        return {"mlops:gates": {"trustRoot": REHEARSAL, "allowedSigners": str(stated)}}

    def variables(self) -> Mapping[str, str]:
        """What the engine's environment has so that the gate finds its files."""
        return {FOLDER: str(self.folder), KEY: str(self.folder / "keys" / _JUDGE)}

    def judge(self, stack: Stack) -> tuple[Assessment, list[str]]:
        """Have the policies judge what `up` would do, and put the verdict where the gate looks for it.

        Returns:
            The assessment, and what stops it, in words.

        Raises:
            EngineError: the plan was not judged.
        """
        now = clock()
        found = assess(stack, self.project, all_rules(), now)
        if not gated(found):
            return found, [_said(stop_of(one)) for one in found.evaluation.findings if one.stops]
        asked = answers(
            found.evaluation.findings,
            {"quota": quota_check(lambda: self._quotas(stack)), **controller_checks(self.control)},
        )
        made = write_verdict(found, asked, self.folder, now, stack.environment)
        stops = [_said(one) for one in made.stops]
        return found, stops + [f"{one.rule} ({one.subject}): [{one.answer}] {one.text}" for one in asked if one.stops]

    def break_glass(self, assessment: Assessment, reason: str) -> None:
        """Let two people answer for the commit that was judged."""
        now: datetime = clock()
        statement = BreakGlass(
            stack=assessment.facts.stack, commit=gate_inputs(assessment)["commit"], reason=reason, made_at=now,
            expires_at=now + timedelta(hours=_HOURS), trust_root=REHEARSAL,
        )  # fmt: skip
        for name in _PEOPLE:
            statement = witnessed(statement, name, key_signer(self._keys[name]))
        write(break_glass_file(self.folder), statement)

    def _quotas(self, stack: Stack) -> Any:
        import boto3

        return boto3.client(
            "service-quotas", region_name=self.region, endpoint_url=stack.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="rehearsal", aws_secret_access_key="rehearsal",  # noqa: S106 - of nobody
        )  # fmt: skip


def _said(stop: Any) -> str:
    return f"{stop.rule} ({stop.subject}): {stop.text}"
