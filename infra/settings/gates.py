"""The settings of the gate: how strict the policies are, and whose verdicts count."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from infra.settings.section import Section, listed

DataClass = Literal["public", "internal", "confidential", "restricted"]
Region = Annotated[str, Field(pattern=r"^(\*|[a-z]{2}(-gov)?-[a-z]+-[1-9])$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Gates(Section):
    """How strict the policies are in this stack, and whose verdicts its gate accepts."""

    kind: Literal["local", "dev", "staging", "prod"] | None = None
    """Kind of the environment, which says how strict the policies are. Without it the environment's name, where it is
    one of these; any other name on AWS counts as `prod`, and a stack of the target `local` as `local`."""
    allowed_signers: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """File with the keys whose verdicts and break-glass statements count, relative to the project, in git's
    allowed-signers format. Without it the gate of a staging or prod environment lets nothing through."""
    trust_root: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")] | None = None
    """Name of that trust root; the environment's name without it. `rehearsal` counts in rehearsals only."""
    regions: dict[DataClass, Annotated[tuple[Region, ...], BeforeValidator(listed)]] = Field(default_factory=dict)
    """Regions in which data of each class may be; `*` stands for all, and a class that is not named may be nowhere."""
    quarantined: Annotated[tuple[Digest, ...], BeforeValidator(listed)] = ()
    """Digests of artifacts that no environment may release, whatever a rollout controller knows of them."""
