"""The settings of the gate: how strict the policies are, and whose verdicts count."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from infra.settings.section import Section


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
