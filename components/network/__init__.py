"""The network of an environment. This is its contract; the realisation lies beside it. `local` has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pulumi import Output

from components.component import Component

Nat = Literal["none", "one", "per-zone"]


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """What a network is made with.

    Attributes:
        cidr: its private IPv4 block.
        zones: number of availability zones.
        nat: ways out to the internet.
        interface_endpoints: whether calls of AWS stay inside the network; always so without a way out.
        flow_log_days: how long flow logs are kept.
    """

    cidr: str
    zones: int
    nat: Nat
    interface_endpoints: bool
    flow_log_days: int


class Network(Component):
    """A network over several zones, closed by default."""

    vpc_id: Output[str]
    """The network."""
    zones: Output[list[str]]
    """Its availability zones."""
    private_subnet_ids: Output[list[str]]
    """Subnets of nodes and pods, one a zone."""
    public_subnet_ids: Output[list[str]]
    """Subnets of load balancers that face the internet, one a zone."""
    intra_subnet_ids: Output[list[str]]
    """Subnets without any way out, one a zone: databases and the API servers' interfaces."""
    endpoint_security_group_id: Output[str]
    """Guards the interface endpoints: HTTPS from inside the network."""
