"""Custom resource definitions out of Go modules: only the pinned content is taken."""

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest

from infra.engine import crds
from infra.engine.cache import Cache
from infra.engine.errors import ToolError


def archive(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as target:
        for name, content in files.items():
            target.writestr(f"example.com/controller@v1.2.3/{name}", content)
    return path


def module(zipped: Path) -> crds.Module:
    with zipfile.ZipFile(zipped) as content:
        return crds.Module("example.com/controller", "v1.2.3", crds.content_sum(content))


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crds, "FILES", {"example.com/controller": ("crd/*.yaml",)})


def test_every_module_is_pinned_by_version_and_content() -> None:
    pinned = crds.modules()
    assert {module.path for module in pinned} == set(crds.FILES)
    for module in pinned:
        assert module.sum.startswith("h1:")
        assert len(base64.b64decode(module.sum.removeprefix("h1:"))) == 32


def test_another_pin_is_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache({"XDG_CACHE_HOME": str(tmp_path)})
    first = crds.folder(cache)
    monkeypatch.setattr(crds, "FILES", dict(list(crds.FILES.items())[1:]))
    assert crds.folder(cache) != first


def test_checksum_is_that_of_go_sum(tmp_path: Path) -> None:
    zipped = archive(tmp_path / "m.zip", {"go.mod": "module example.com/controller\n"})
    content = hashlib.sha256(b"module example.com/controller\n").hexdigest()
    line = f"{content}  example.com/controller@v1.2.3/go.mod\n"
    assert module(zipped).sum == "h1:" + base64.b64encode(hashlib.sha256(line.encode()).digest()).decode()


@pytest.mark.usefixtures("wanted")
def test_only_wanted_files_are_taken(tmp_path: Path) -> None:
    zipped = archive(tmp_path / "m.zip", {"crd/a.yaml": "a", "crd/b.yaml": "b", "crd/notes.md": "n", "main.go": "m"})
    target = tmp_path / "target"
    target.mkdir()
    assert crds.take(module(zipped), zipped, target) == 2
    assert sorted(file.name for file in target.iterdir()) == ["a.yaml", "b.yaml"]


@pytest.mark.usefixtures("wanted")
def test_changed_content_is_refused(tmp_path: Path) -> None:
    good = module(archive(tmp_path / "good.zip", {"crd/a.yaml": "a"}))
    bad = archive(tmp_path / "bad.zip", {"crd/a.yaml": "another"})
    with pytest.raises(ToolError, match="not the pinned h1:"):
        crds.take(good, bad, tmp_path)


@pytest.mark.usefixtures("wanted")
def test_module_without_definitions_is_an_error(tmp_path: Path) -> None:
    zipped = archive(tmp_path / "m.zip", {"main.go": "m"})
    with pytest.raises(ToolError, match=r"no file like crd/\*\.yaml"):
        crds.take(module(zipped), zipped, tmp_path)
