"""Where a tool comes from: PATH, cache, official release, build; and what a person is told when nothing helps."""

import dataclasses
import hashlib
import io
import os
import tarfile
import threading
from pathlib import Path
from platform import machine
from typing import Any

import pytest

from infra.engine import catalogue, golang, tools
from infra.engine.cache import Cache, remove
from infra.engine.catalogue import PULUMI, Archive, GoSource, Release, Tool
from infra.engine.errors import ToolError

pytestmark = pytest.mark.slow  # a file that takes seconds together


def program(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho v{version}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A machine with nothing but a shell."""
    return {"PATH": "", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture
def release(served: Any, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An archive on a mirror whose checksum is the pinned one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("pulumi", "pulumi-language-python", "pulumi-language-python-exec"):
            content = b"#!/bin/sh\necho v3.253.0\n"
            member = tarfile.TarInfo(f"pulumi/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    content = buffer.getvalue()
    served.files["release.tar.gz"] = content
    environ["MLOPS_TOOL_MIRROR"] = served.url
    pinned = Archive("release.tar.gz", hashlib.sha256(content).hexdigest())
    use(monkeypatch, release=official(PULUMI, archives={machine(): pinned}))
    return content


def official(tool: Tool, **changes: Any) -> Release:
    assert tool.release is not None
    return dataclasses.replace(tool.release, **changes)


def use(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Tool:
    tool = dataclasses.replace(PULUMI, **changes)
    monkeypatch.setattr(tools, "TOOLS", {"pulumi": tool})
    monkeypatch.setattr(tools, "PULUMI", tool)
    return tool


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Builds that were asked for; each works."""
    builds: list[str] = []

    def build(source: GoSource, target: Path, *_: object) -> None:
        builds.append(source.name)
        for package in source.packages:
            program(target / package.rpartition("/")[2], "3.250.0")

    monkeypatch.setattr(golang, "build", build)
    return builds


@pytest.fixture
def no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> None:
        raise ToolError("no Go on PATH; the Go package can't be installed: no network")

    monkeypatch.setattr(golang, "build", build)


def test_path_wins_when_it_is_new_enough(environ: dict[str, str], tmp_path: Path, built: list[str]) -> None:
    environ["PATH"] = str(program(tmp_path / "bin" / "pulumi", "3.260.1").parent)
    assert tools.ensure("pulumi", environ=environ) == tmp_path / "bin" / "pulumi"
    assert built == []


def test_path_is_passed_over_when_it_is_too_old(
    release: bytes, environ: dict[str, str], tmp_path: Path, built: list[str]
) -> None:
    environ["PATH"] = str(program(tmp_path / "bin" / "pulumi", "3.249.9").parent)
    assert tools.ensure("pulumi", environ=environ).is_relative_to(tmp_path / "cache")


def test_path_is_passed_over_when_it_does_not_run(
    release: bytes, environ: dict[str, str], tmp_path: Path, built: list[str]
) -> None:
    broken = program(tmp_path / "bin" / "pulumi", "3.260.0")
    broken.write_text("#!/bin/sh\necho v3.260.0\nexit 1\n")
    environ["PATH"] = str(broken.parent)
    assert tools.ensure("pulumi", environ=environ) != broken


def test_tool_that_tells_no_version_is_built_and_never_taken_from_path(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: list[str]
) -> None:
    silent = dataclasses.replace(PULUMI, name="silent", tells_version=False, release=None)
    monkeypatch.setattr(tools, "TOOLS", {"silent": silent})
    environ["PATH"] = str(program(tmp_path / "bin" / "pulumi", "9.9.9").parent)
    assert tools.ensure("silent", environ=environ).is_relative_to(tmp_path / "cache")
    found = tools.find("silent", environ=environ)
    assert found is not None
    assert found.version == silent.source.version
    assert built == ["pulumi"]


def test_release_is_installed_once_and_then_found(
    release: bytes, served: Any, environ: dict[str, str], built: list[str]
) -> None:
    first = tools.ensure("pulumi", environ=environ)
    assert tools.ensure("pulumi", environ=environ) == first
    assert len(served.requests) == 1
    assert built == []
    assert first.parent.name == f"pulumi-3.253.0-{hashlib.sha256(release).hexdigest()[:8]}"
    assert [path.name for path in Cache(environ).downloads.iterdir()] == []


def test_official_engine_keeps_its_own_language_host(release: bytes, environ: dict[str, str]) -> None:
    folder = tools.ensure("pulumi", environ=environ).parent
    assert "3.253.0" in (folder / "pulumi-language-python").read_text()


def test_wrong_archive_is_refused_and_the_build_takes_over(
    release: bytes, served: Any, environ: dict[str, str], built: list[str], said: list[str]
) -> None:
    served.files["release.tar.gz"] = release + b"!"
    found = tools.ensure("pulumi", said.append, environ=environ)
    assert built == ["pulumi"]
    assert found.parent.name.startswith("pulumi-3.250.0-")
    assert any("has not the pinned SHA-256" in line for line in said)


def test_built_engine_gets_our_language_host(
    environ: dict[str, str], built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, release=official(PULUMI, archives={}))
    host = tools.ensure("pulumi", environ=environ).parent / "pulumi-language-python"
    assert host.read_text() == tools.LANGUAGE_HOST
    assert os.access(host, os.X_OK)


def test_outdated_language_host_is_replaced(
    environ: dict[str, str], built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, release=official(PULUMI, archives={}))
    host = tools.ensure("pulumi", environ=environ).parent / "pulumi-language-python"
    host.write_text("#!/bin/sh\nexit 1\n")
    tools.ensure("pulumi", environ=environ)
    assert host.read_text() == tools.LANGUAGE_HOST


@pytest.mark.usefixtures("no_build")
def test_error_lists_everything_that_was_tried(
    release: bytes, served: Any, environ: dict[str, str], tmp_path: Path
) -> None:
    served.files.clear()
    environ["PATH"] = str(program(tmp_path / "bin" / "pulumi", "3.100.0").parent)
    with pytest.raises(ToolError) as caught:
        tools.ensure("pulumi", environ=environ)
    message = str(caught.value)
    for part in ("3.100.0, older than 3.250", "in the cache", "HTTP 404", "no Go on PATH", "GOPROXY", "on PATH"):
        assert part in message
    assert not any(Cache(environ).tools.iterdir())


def test_full_disk_is_named_with_the_space_left(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> None:
        raise OSError(28, "No space left on device", "/cache/file")

    monkeypatch.setattr(golang, "build", build)
    use(monkeypatch, release=official(PULUMI, archives={}))
    with pytest.raises(ToolError, match=r"No space left on device \(/cache/file\).* GB are free"):
        tools.ensure("pulumi", environ=environ)


def test_unwritable_cache_is_a_clear_error(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(ToolError, match="XDG_CACHE_HOME"):
        tools.ensure("pulumi", environ=environ)


def test_interrupted_installation_leaves_nothing_that_looks_finished(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, built: list[str]
) -> None:
    use(monkeypatch, release=official(PULUMI, archives={}))
    works = golang.build

    def interrupted(source: GoSource, target: Path, *_: object) -> None:
        program(target / "pulumi", "3.250.0")
        raise KeyboardInterrupt

    monkeypatch.setattr(golang, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tools.ensure("pulumi", environ=environ)
    assert tools.find("pulumi", environ=environ) is None
    monkeypatch.setattr(golang, "build", works)
    assert tools.ensure("pulumi", environ=environ).exists()


def test_program_that_does_not_run_here_is_not_installed(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(source: GoSource, target: Path, *_: object) -> None:
        (target / "pulumi").write_bytes(b"\x7fELF of another machine")
        (target / "pulumi").chmod(0o755)

    monkeypatch.setattr(golang, "build", build)
    use(monkeypatch, release=official(PULUMI, archives={}))
    with pytest.raises(ToolError, match="does not run on this machine"):
        tools.ensure("pulumi", environ=environ)


def test_two_at_once_fetch_it_once(release: bytes, served: Any, environ: dict[str, str]) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(tools.ensure("pulumi", environ=environ))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(served.requests) == 1


def test_build_files_go_when_no_tool_is_missing(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, built: list[str]
) -> None:
    pulumi = dataclasses.replace(PULUMI, release=official(PULUMI, archives={}))
    other = dataclasses.replace(
        catalogue.PROMETHEUS, release=official(catalogue.PROMETHEUS, archives={}), minimum=(3, 0)
    )
    monkeypatch.setattr(tools, "TOOLS", {"pulumi": pulumi, "prometheus": other})
    monkeypatch.setattr(tools, "PULUMI", pulumi)
    leftover = Cache(environ).build / "gomodcache" / "module"
    leftover.mkdir(parents=True)
    tools.ensure("pulumi", environ=environ)
    assert leftover.exists(), "the other tool still wants it"
    folder = tools.ensure("prometheus", environ=environ)
    assert not Cache(environ).build.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["prometheus", "promtool"]
    leftover.mkdir(parents=True)  # as when the removal itself was killed
    tools.ensure("pulumi", environ=environ)
    assert not leftover.exists()


def test_engine_without_any_language_host_gets_ours_on_path(environ: dict[str, str], tmp_path: Path) -> None:
    pulumi = program(tmp_path / "bin" / "pulumi", "3.260.0")
    environ["PATH"] = str(pulumi.parent)
    folders = tools.engine_path(pulumi, environ)
    assert folders[0] == pulumi.parent
    assert (folders[1] / "pulumi-language-python").read_text() == tools.LANGUAGE_HOST


def test_engine_with_a_language_host_gets_no_other(environ: dict[str, str], tmp_path: Path) -> None:
    pulumi = program(tmp_path / "real" / "pulumi", "3.260.0")
    program(tmp_path / "real" / "pulumi-language-python", "0.0.0")
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "pulumi"
    link.symlink_to(pulumi)
    assert tools.engine_path(link, environ) == [tmp_path / "bin"]


def test_read_only_folders_can_be_removed(tmp_path: Path) -> None:
    folder = tmp_path / "gomodcache" / "module"
    folder.mkdir(parents=True)
    (folder / "file.go").write_text("package x")
    folder.chmod(0o555)
    remove(tmp_path / "gomodcache")
    assert not (tmp_path / "gomodcache").exists()


def test_too_old_go_on_path_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text("#!/bin/sh\necho go1.21.3\n")
    go.chmod(0o755)
    environ["PATH"] = str(go.parent)
    found, words = golang.from_path((1, 25, 11), environ)
    assert found is None
    assert "1.21.3" in words
    assert "1.25.11" in words


def test_build_takes_network_settings_and_no_build_settings_of_the_person(environ: dict[str, str]) -> None:
    cache = Cache(environ)
    environ |= {"GOPROXY": "https://proxy.example", "GOFLAGS": "-mod=mod", "CGO_CFLAGS": "-O0", "GOROOT": "/old"}
    found = golang.variables(cache, Path("/go/bin/go"), environ)
    assert found["GOPROXY"] == "https://proxy.example"
    assert "-mod=mod" not in found["GOFLAGS"]
    assert "CGO_CFLAGS" not in found
    assert "GOROOT" not in found
    assert found["GOTOOLCHAIN"] == "local"
    assert Path(found["GOMODCACHE"]).is_relative_to(cache.build)


def test_build_uses_caches_that_the_person_set(environ: dict[str, str]) -> None:
    environ |= {"GOMODCACHE": "/mine/mod", "GOCACHE": "/mine/cache"}
    found = golang.variables(Cache(environ), Path("/go/bin/go"), environ)
    assert (found["GOMODCACHE"], found["GOCACHE"]) == ("/mine/mod", "/mine/cache")
