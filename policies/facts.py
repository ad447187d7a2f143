"""What is stated of an environment: read from the inputs of its `Gate`, so that every preview carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from policies.plan import Plan, UndeterminedError

EnvironmentKind = Literal["local", "dev", "staging", "prod"]
GATE: str = "blueprint:index:Gate"


class FactsError(Exception):
    """The plan does not say what environment it is of."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is stated of an environment.

    Attributes:
        environment: its kind, which says how strict rules are.
        stack: name of the stack.
        client: whose it is.
        target: `local` or `aws`.
        settings: the settings in force (baseline and stack merged), without secrets, by their names in the file.
        commit: commit of the program; `-dirty` at its end where files differ from it.
        configuration: digest of the settings, secrets included.
    """

    environment: EnvironmentKind
    stack: str
    client: str
    target: Literal["local", "aws"]
    settings: Mapping[str, Any] = field(default_factory=dict)
    commit: str = ""
    configuration: str = ""

    def setting(self, *path: str, default: Any = None) -> Any:
        """Return what the settings say at a path, such as `("aws", "governance", "budgetUsd")`."""
        found: Any = self.settings
        for name in path:
            if not isinstance(found, Mapping) or found.get(name) is None:
                return default
            found = found[name]
        return found


def environment_kind(name: str, target: str, stated: EnvironmentKind | None = None) -> EnvironmentKind:
    """Return the kind of an environment.

    Args:
        name: the environment's name, which may be any.
        target: where it runs.
        stated: the kind that the settings state.

    Returns:
        What is stated; else `local` on one machine, and on AWS the name where it is a kind, `prod` where it is not.
    """
    if stated is not None:
        return stated
    if target == "local":
        return "local"
    named: dict[str, EnvironmentKind] = {"dev": "dev", "staging": "staging", "prod": "prod"}
    return named.get(name, "prod")


def facts_of(plan: Plan) -> Facts:
    """Return what the gate of a plan states.

    Raises:
        FactsError: there is no gate, more than one, or it does not say it in full.
    """
    gates = plan.of(GATE)
    if len(gates) != 1:
        raise FactsError(f"the plan of {plan.stack} has {len(gates)} gates ({GATE}); a stack has exactly one")
    gate = gates[0]
    try:
        stated = {name: gate.value(name) for name in ("environment", "stack", "client", "target", "settings")}
        stated |= {name: gate.value(name, default="") for name in ("commit", "configuration")}
    except UndeterminedError as error:
        raise FactsError(f"gate {gate.name}: {error}") from None
    if stated["environment"] not in get_args(EnvironmentKind) or stated["target"] not in ("local", "aws"):
        raise FactsError(f"gate {gate.name}: environment {stated['environment']!r}, target {stated['target']!r}")
    if missing := [
        name for name in ("stack", "client", "commit", "configuration") if not isinstance(stated[name], str)
    ]:
        raise FactsError(f"gate {gate.name}: it does not state {', '.join(missing)}")
    if not isinstance(stated["settings"], Mapping):
        raise FactsError(f"gate {gate.name}: it states no settings")
    return Facts(**stated)
