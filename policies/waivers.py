"""Waivers: a named person answers for a finding until a day. Read from `stacks/waivers.yaml`.

A waiver names one rule and one resource, so that it cannot grow. An expired one denies, and so does one that names what
does not exist: a typing error must not look like a decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.rule import Rule

FILE = "stacks/waivers.yaml"
LONGEST_DAYS = 180
"""Days that a waiver may reach into the future; who still needs it then says so again."""

RULE_WEAKENED, SETTING_WEAKENED, CODE_CHANGED = "gate.rule-weakened", "gate.setting-weakened", "gate.code-changed"
GATE_CHANGES: Mapping[str, str] = {
    RULE_WEAKENED: "No rule is removed or made weaker (resource: the rule, stack: every)",
    SETTING_WEAKENED: "No setting that rules measure by is made weaker (resource: the setting)",
    CODE_CHANGED: "No code of a rule, of the gate or of a workflow changes unseen (resource: rule, path, or `code`)",
}
"""What a waiver may name besides rules: changes of the gates themselves, answered for in the change that makes them."""
EVERY_STACK = "every"
"""Stack of a waiver about a change of the gates that is no single stack's."""


class WaiverError(Exception):
    """The file of waivers cannot be used."""


class Waiver(BaseModel):
    """One waiver."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    rule: Annotated[str, Field(min_length=3)]
    """Id of the rule."""
    stack: Annotated[str, Field(min_length=1)]
    """Stack that it holds for."""
    resource: Annotated[str, Field(min_length=1)]
    """Name of the resource in the program (`type::name` where the name alone is not enough), or `stack`."""
    owner: Annotated[str, Field(min_length=3)]
    """Who answers for it."""
    reason: Annotated[str, Field(min_length=10)]
    """Why it may be so."""
    expires: date
    """Last day on which it holds."""

    def covers(self, rule: str, stack: str, urn: str) -> bool:
        """Return whether it names this finding, expired or not."""
        if (self.rule, self.stack) != (rule, stack):
            return False
        kind, _, name = self.resource.rpartition("::")
        if not urn:
            return self.resource == "stack"
        parts = urn.split("::")
        return parts[-1] == name and (not kind or parts[2].rsplit("$", 1)[-1] == kind)


def read_waivers(file: Path) -> tuple[Waiver, ...]:
    """Return the waivers of a file, none where there is no file.

    Raises:
        WaiverError: it is no list of waivers; the text names each place.
    """
    try:
        stated = yaml.safe_load(file.read_text()) if file.exists() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WaiverError(f"{FILE} cannot be read: {error}") from None
    if stated is None:
        return ()
    if not isinstance(stated, Mapping) or set(stated) != {"waivers"} or not isinstance(stated["waivers"], Sequence):
        raise WaiverError(f"{FILE}: it must hold one key, `waivers`, with a list")
    found, problems = [], []
    for index, one in enumerate(stated["waivers"]):
        try:
            found.append(Waiver.model_validate(one))
        except ValidationError as error:
            problems += [
                f"waivers[{index}].{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
            ]
    if problems:
        raise WaiverError(f"{FILE}: " + "; ".join(problems))
    return tuple(found)


def problems_of(waivers: Sequence[Waiver], rules: Sequence[Rule]) -> list[str]:
    """Return what is wrong with waivers: rules that do not exist, or that no waiver may cover."""
    known = {rule.id: rule for rule in rules}
    problems = []
    for one in waivers:
        if one.rule in GATE_CHANGES:
            continue
        if one.rule not in known:
            problems.append(f"{FILE}: there is no rule {one.rule!r} (`./mlops policies list` names them)")
        elif not known[one.rule].waivable:
            problems.append(f"{FILE}: the rule {one.rule} cannot be waived")
    return problems
