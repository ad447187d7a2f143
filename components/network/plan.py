"""How the block of a network is divided among its subnets; pure.

Three quarters of the block are for nodes and pods (each pod has an address of the network), a quarter for each zone.
The last quarter holds a public and an intra subnet for each zone, an eighth of the quarter each; two eighths stay free.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Subnets:
    """Blocks of one zone."""

    private: str
    public: str
    intra: str


def divide(cidr: str, zones: int) -> list[Subnets]:
    """Blocks of each zone.

    Args:
        cidr: block of the network, /16 to /20.
        zones: how many zones, 2 or 3.

    Raises:
        ValueError: the block is none, has host bits, is too small or too large, or there are too many zones.
    """
    block = ipaddress.IPv4Network(cidr)
    if not 16 <= block.prefixlen <= 20:
        raise ValueError(f"a network has /16 to /20, {cidr} has /{block.prefixlen}")
    if not 2 <= zones <= 3:
        raise ValueError(f"a network has 2 or 3 zones, not {zones}")
    *private, rest = block.subnets(prefixlen_diff=2)
    small = list(rest.subnets(prefixlen_diff=3))
    return [
        Subnets(private=str(private[zone]), public=str(small[zone]), intra=str(small[3 + zone]))
        for zone in range(zones)
    ]
