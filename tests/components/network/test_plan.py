"""The block of a network is divided without overlap, and each zone gets room."""

import ipaddress
import itertools

import pytest

from components.network.plan import divide


@pytest.mark.parametrize("prefix", range(16, 21))
@pytest.mark.parametrize("zones", [2, 3])
def test_subnets_lie_in_the_block_and_apart(prefix: int, zones: int) -> None:
    whole = ipaddress.IPv4Network(f"10.32.0.0/{prefix}")

    planned = divide(str(whole), zones)

    blocks = [ipaddress.IPv4Network(block) for zone in planned for block in (zone.private, zone.public, zone.intra)]
    assert len(planned) == zones
    assert all(block.subnet_of(whole) for block in blocks)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(blocks, 2))
    # EKS asks for 6 free addresses in each subnet of its interfaces and advises 16; AWS keeps 5 of each for itself.
    assert all(block.num_addresses - 5 >= 16 for block in blocks)
    assert all(ipaddress.IPv4Network(zone.private).prefixlen == prefix + 2 for zone in planned)


@pytest.mark.parametrize(
    ("cidr", "zones", "reason"),
    [
        ("10.0.0.0/21", 3, "/16 to /20"),
        ("10.0.0.0/8", 3, "/16 to /20"),
        ("10.0.0.1/16", 3, "host bits"),
        ("10.0.0.0/16", 4, "2 or 3 zones"),
        ("10.0.0.0/16", 1, "2 or 3 zones"),
    ],
)
def test_what_leaves_no_room_is_refused(cidr: str, zones: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        divide(cidr, zones)
