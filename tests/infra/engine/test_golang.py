"""A build from Go modules, with the real Go."""

import os
import subprocess
from pathlib import Path

import pytest

from infra.engine import catalogue, golang
from infra.engine.cache import Cache
from infra.engine.catalogue import GoSource
from infra.engine.errors import ToolError

MAIN = "package main\n\nvar version string\n\nfunc main() { println(version) }\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GoSource:
    """A module of one small program."""
    folder = tmp_path / "modules" / "tiny"
    (folder / "cmd" / "tiny").mkdir(parents=True)
    (folder / "go.mod").write_text("module example.com/tiny\n\ngo 1.21.0\n")
    (folder / "go.sum").write_text("")
    (folder / "cmd" / "tiny" / "main.go").write_text(MAIN)
    monkeypatch.setattr(catalogue, "_GO", tmp_path / "modules")
    return GoSource("tiny", "example.com/tiny", ("example.com/tiny/cmd/tiny",), "main.version", (1, 2, 3))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """One cache for all: compiling Go's own library is most of the time."""
    return Cache({"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))})


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The person's environment with build settings that must not count."""
    environ = {name: value for name, value in os.environ.items() if name not in ("GOMODCACHE", "GOCACHE")}
    return environ | {"GOFLAGS": "-tags=nonsense -mod=vendor", "GOOS": "plan9"}


@pytest.mark.slow
def test_program_is_built_with_its_version_inside_the_cache_only(
    source: GoSource, cache: Cache, environ: dict[str, str], tmp_path: Path, said: list[str]
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    golang.build(source, target, cache, said.append, environ)
    done = subprocess.run([target / "tiny"], capture_output=True, text=True)
    assert done.stderr == "1.2.3\n"
    assert (cache.build / "gocache").is_dir()
    assert said[-1].startswith("tiny: built (")


@pytest.mark.slow
def test_failed_build_says_why(
    source: GoSource, cache: Cache, environ: dict[str, str], tmp_path: Path, said: list[str]
) -> None:
    (source.folder / "cmd" / "tiny" / "main.go").write_text("package main\n\nfunc main() { nonsense() }\n")
    with pytest.raises(ToolError, match="undefined: nonsense"):
        golang.build(source, tmp_path, cache, said.append, environ)


@pytest.mark.slow  # where there is no Go on PATH, its package is fetched
def test_module_that_is_not_in_go_sum_is_refused(
    source: GoSource, cache: Cache, environ: dict[str, str], tmp_path: Path, said: list[str]
) -> None:
    main = source.folder / "cmd" / "tiny" / "main.go"
    main.write_text('package main\n\nimport _ "github.com/google/uuid"\n\nfunc main() {}\n')
    with (source.folder / "go.mod").open("a") as file:
        file.write("\nrequire github.com/google/uuid v1.6.0\n")
    with pytest.raises(ToolError, match=r"missing go\.sum entry"):
        golang.build(source, tmp_path, cache, said.append, environ)


def test_build_is_not_begun_when_the_disk_is_too_small(
    source: GoSource, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golang, "_NEEDED_BYTES", 1 << 60)
    monkeypatch.setattr(golang, "command", None)  # nor is Go fetched for it
    with pytest.raises(ToolError, match="free disk space"):
        golang.build(source, tmp_path, Cache({"XDG_CACHE_HOME": str(tmp_path)}), lambda _: None, environ)
