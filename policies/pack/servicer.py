# ruff: noqa: N802, ARG002 - method names and arguments are the protocol's
"""Answers the engine: remembers each resource as it is registered, and judges the whole plan at the end.

Rules need the whole plan (a bucket and the block of its access are two resources), so that all are asked at its end.
What that means for an `up` that goes without a preview is in docs/policies.md: the `Gate` is what stops it.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc, plugin_pb2

from policies.evaluation import Evaluation, Finding
from policies.pack.wire import properties
from policies.plan import Plan, Resource
from policies.rule import Rule

NAME, VERSION = "mlops", "1.0.0"
RESULT: str = "MLOPS_POLICY_RESULT"
"""Variable of the environment with the file that the result is written to."""
NOW: str = "MLOPS_NOW"
"""Variable of the environment with the time (ISO 8601 with a zone) at which is judged."""

_SEVERITIES: Mapping[str, Any] = {
    "low": analyzer_pb2.POLICY_SEVERITY_LOW, "medium": analyzer_pb2.POLICY_SEVERITY_MEDIUM,
    "high": analyzer_pb2.POLICY_SEVERITY_HIGH, "critical": analyzer_pb2.POLICY_SEVERITY_CRITICAL,
}  # fmt: skip


class PackServicer(analyzer_pb2_grpc.AnalyzerServicer):
    """Serves the rules.

    Args:
        rules: the rules.
        judge: given the plan, what comes of it.
        result: file that the result is written to besides; None for none.
    """

    def __init__(self, rules: tuple[Rule, ...], judge: Callable[[Plan], Evaluation], result: Path | None) -> None:
        self._rules, self._judge, self._result = rules, judge, result
        self._inputs: dict[str, Any] = {}
        self._protected: dict[str, bool] = {}
        self._stack = ""

    # --- what the engine asks first --------------------------------------------------------------------------------

    def Handshake(self, request: Any, context: Any) -> Any:
        """Nothing is agreed on."""
        return analyzer_pb2.AnalyzerHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        """Return the pack's version."""
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetAnalyzerInfo(self, request: Any, context: Any) -> Any:
        """Return the rules with what is said of them. How strict each is depends on the environment."""
        info = analyzer_pb2.AnalyzerInfo(
            name=NAME, version=VERSION, displayName="MLOps blueprint", supportsConfig=False,
            description="Governance, cost, rollback, security and reliability of an ML platform",
        )  # fmt: skip
        for rule in self._rules:
            info.policies.append(
                analyzer_pb2.PolicyInfo(
                    name=rule.id, description=rule.title, enforcementLevel=analyzer_pb2.MANDATORY,
                    severity=_SEVERITIES[rule.severity], policy_type=analyzer_pb2.POLICY_TYPE_STACK,
                    tags=[rule.family, *rule.references], remediation_steps=rule.fix,
                )
            )  # fmt: skip
        return info

    def Configure(self, request: Any, context: Any) -> Any:
        """Take no configuration: rules are changed in the open, in the repository, where the review sees it."""
        if changed := sorted(name for name, one in request.policyConfig.items() if _weakens(one)):
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"policy config would change {', '.join(changed)}: rules are not configured from outside; use a waiver",
            )
        return empty_pb2.Empty()

    def ConfigureStack(self, request: Any, context: Any) -> Any:
        """Take the stack's name; a new operation begins, and the result of an earlier one is none of it."""
        self._stack = request.stack
        if self._result is not None:
            self._result.unlink(missing_ok=True)
        self._inputs, self._protected = {}, {}
        return analyzer_pb2.AnalyzerStackConfigureResponse()

    def Cancel(self, request: Any, context: Any) -> Any:
        """Nothing is under way that could be cancelled."""
        return empty_pb2.Empty()

    # --- the plan --------------------------------------------------------------------------------------------------

    def Analyze(self, request: Any, context: Any) -> Any:
        """Remember a resource's inputs as the program states them."""
        self._inputs[request.urn] = request.properties
        self._protected[request.urn] = request.options.protect
        return analyzer_pb2.AnalyzeResponse()

    def Remediate(self, request: Any, context: Any) -> Any:
        """Change nothing: a gate that mends in silence is none."""
        return analyzer_pb2.RemediateResponse()

    def AnalyzeStack(self, request: Any, context: Any) -> Any:
        """Judge the plan."""
        try:
            plan = Plan(stack=self._stack, resources=[self._resource(one) for one in request.resources])
            evaluation = self._judge(plan)
            self._write(evaluation)
        except (Exception, SystemExit):  # noqa: BLE001 - the engine shows it; a dead pack or thread would not answer
            context.abort(grpc.StatusCode.UNKNOWN, f"the policies could not be evaluated:\n{traceback.format_exc()}")
            raise AssertionError("abort raises") from None
        return analyzer_pb2.AnalyzeResponse(
            diagnostics=[self._diagnostic(one) for one in evaluation.findings if one.level != "off"]
        )

    def _resource(self, stated: Any) -> Resource:
        depends = {name: tuple(one.urns) for name, one in stated.propertyDependencies.items()}
        return Resource(
            urn=stated.urn, type=stated.type,
            # dropped once read: messages are several times larger than what they say
            inputs=properties(self._inputs.pop(stated.urn, stated.properties), depends),
            parent=stated.parent, provider=stated.provider.urn if stated.HasField("provider") else "",
            protect=self._protected.get(stated.urn, stated.options.protect),
            dependencies=tuple(stated.dependencies), property_dependencies=depends,
        )  # fmt: skip

    def _diagnostic(self, finding: Finding) -> Any:
        stops = finding.stops
        notes = [f"[{finding.status}] {finding.text}"]
        if finding.path:
            notes.append(f"input: {finding.path}")
        if finding.waiver:
            notes.append(f"waiver: {finding.waiver}")
        if stops:
            notes.append(f"to mend it: {finding.fix}")
        return analyzer_pb2.AnalyzeDiagnostic(
            policyName=finding.rule, policyPackName=NAME, policyPackVersion=VERSION, message="\n".join(notes),
            urn=finding.urn, severity=_SEVERITIES.get(finding.severity, analyzer_pb2.POLICY_SEVERITY_UNSPECIFIED),
            enforcementLevel=analyzer_pb2.MANDATORY if stops else analyzer_pb2.ADVISORY,
        )  # fmt: skip

    def _write(self, evaluation: Evaluation) -> None:
        """Write the result whole or not at all."""
        if self._result is None:
            return
        draft = self._result.with_suffix(".draft")
        draft.write_text(json.dumps(evaluation.to_json()))
        draft.replace(self._result)


def _weakens(config: Any) -> bool:
    return bool(config.properties.fields) or config.enforcementLevel in (
        analyzer_pb2.ADVISORY, analyzer_pb2.DISABLED, analyzer_pb2.REMEDIATE,
    )  # fmt: skip


def clock() -> datetime:
    """Return the time: that of `MLOPS_NOW` (ISO 8601 with a zone) where it is stated.

    Raises:
        ValueError: it is stated, but is none.
    """
    stated = os.environ.get(NOW)
    if not stated:
        return datetime.now().astimezone()
    found = datetime.fromisoformat(stated)
    if found.tzinfo is None:
        raise ValueError(f"MLOPS_NOW is {stated!r}: state it with its zone, as 2026-11-20T09:00:00+00:00")
    return found
