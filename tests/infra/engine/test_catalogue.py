"""Versions and pins of the native tools."""

import re
from pathlib import Path

import pytest

from infra.engine.catalogue import DEEP_TOOLS, PLATFORM_TOOLS, REHEARSAL_TOOLS, TOOLS, Tool, parse_version

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v3.250.0\n", (3, 250, 0)),
        ("3.250.0-dev.0", (3, 250, 0)),
        ("prometheus, version 3.13.5 (branch: , revision: unknown)", (3, 13, 5)),
        ("go1.26rc1".replace("go", ""), (1, 26)),
        ("1.25.11", (1, 25, 11)),
        ("no version here", None),
        ("", None),
    ],
)
def test_version_is_read_from_what_a_tool_prints(text: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(text) == version


def test_versions_compare_by_number() -> None:
    old, new = parse_version("3.99.0"), parse_version("3.250.0")
    assert old is not None
    assert new is not None
    assert old < new


@pytest.mark.parametrize("tool", TOOLS.values(), ids=lambda tool: tool.name)
def test_every_pin_is_new_enough(tool: Tool) -> None:
    assert tool.source.version >= tool.minimum
    if tool.release is None:
        return
    assert tool.release.version >= tool.minimum
    for archive in tool.release.archives.values():
        assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256)
        assert ".".join(map(str, tool.release.version)) in archive.name


@pytest.mark.parametrize("tool", TOOLS.values(), ids=lambda tool: tool.name)
def test_go_module_pins_the_version_that_is_built(tool: Tool) -> None:
    go_mod = (tool.source.folder / "go.mod").read_text()
    pinned = re.search(rf"^\s*{re.escape(tool.source.module)} (\S+)", go_mod, re.MULTILINE)
    assert pinned is not None
    version = parse_version(pinned[1])
    assert version is not None
    # Prometheus 3.13.5 is module version 0.313.5.
    assert version in (tool.source.version, (0, tool.source.version[0] * 100 + tool.source.version[1], version[2]))
    for package in tool.source.packages:
        assert f"\t{package}\n" in go_mod or f"tool {package}\n" in go_mod


def test_program_of_another_name_than_its_package_is_named() -> None:
    for tool in TOOLS.values():
        names = (tool.source.program,) if tool.source.program else [p.rpartition("/")[2] for p in tool.source.packages]
        assert tuple(names) == tool.programs


def test_up_waits_for_no_tool_of_a_rehearsal() -> None:
    assert {"etcd", "kube-apiserver"} == set(REHEARSAL_TOOLS)
    assert {"kubernetes-controllers", "ray-operator", "kwok"} == set(DEEP_TOOLS)
    assert not set(PLATFORM_TOOLS) & {*REHEARSAL_TOOLS, *DEEP_TOOLS}


def test_locks_name_hashes_and_no_address() -> None:
    for lock in (ROOT / "infra" / "engine").rglob("*.lock"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "index-url" not in text
