"""Downloads: only pinned content is accepted, and what has arrived is not fetched twice."""

import errno
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from infra.engine import download
from infra.engine.cache import silent
from infra.engine.errors import ToolError

pytestmark = pytest.mark.slow  # a file that takes seconds together

CONTENT = bytes(range(256)) * 40_000
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


def test_file_arrives_when_its_checksum_fits(served: Any, tmp_path: Path) -> None:
    served.files["tool.tar.gz"] = CONTENT
    download.fetch(f"{served.url}/tool.tar.gz", tmp_path / "tool.tar.gz", CHECKSUM, silent)
    assert (tmp_path / "tool.tar.gz").read_bytes() == CONTENT


def test_file_is_refused_and_deleted_when_its_checksum_differs(served: Any, tmp_path: Path) -> None:
    served.files["tool.tar.gz"] = CONTENT[:-1] + b"!"
    with pytest.raises(download.ChecksumError, match=CHECKSUM):
        download.fetch(f"{served.url}/tool.tar.gz", tmp_path / "tool.tar.gz", CHECKSUM, silent)
    assert list(tmp_path.iterdir()) == []


def test_broken_connection_is_continued_where_it_stopped(served: Any, tmp_path: Path) -> None:
    served.files["tool.tar.gz"] = CONTENT
    served.cut["tool.tar.gz"] = 3_000_000
    said: list[str] = []
    download.fetch(f"{served.url}/tool.tar.gz", tmp_path / "tool.tar.gz", CHECKSUM, said.append)
    assert (tmp_path / "tool.tar.gz").read_bytes() == CONTENT
    assert [wanted for _, wanted in served.requests] == [None, "bytes=3000000-"]
    assert "trying again" in said[0]


def test_part_of_an_interrupted_run_is_continued(served: Any, tmp_path: Path) -> None:
    served.files["tool.tar.gz"] = CONTENT
    (tmp_path / "tool.tar.gz.part").write_bytes(CONTENT[:1000])
    download.fetch(f"{served.url}/tool.tar.gz", tmp_path / "tool.tar.gz", CHECKSUM, silent)
    assert served.requests == [("tool.tar.gz", "bytes=1000-")]
    assert (tmp_path / "tool.tar.gz").read_bytes() == CONTENT


def test_part_of_something_else_is_fetched_anew(served: Any, tmp_path: Path) -> None:
    served.files["tool.tar.gz"] = CONTENT
    (tmp_path / "tool.tar.gz.part").write_bytes(b"something else")
    download.fetch(f"{served.url}/tool.tar.gz", tmp_path / "tool.tar.gz", CHECKSUM, silent)
    assert (tmp_path / "tool.tar.gz").read_bytes() == CONTENT


def test_complete_part_needs_no_more_bytes(served: Any, tmp_path: Path) -> None:
    served.files["tool.tar.gz"] = CONTENT
    (tmp_path / "tool.tar.gz.part").write_bytes(CONTENT)
    download.fetch(f"{served.url}/tool.tar.gz", tmp_path / "tool.tar.gz", CHECKSUM, silent)
    assert (tmp_path / "tool.tar.gz").read_bytes() == CONTENT


def test_refusal_is_not_tried_again(served: Any, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="HTTP 404"):
        download.fetch(f"{served.url}/missing", tmp_path / "missing", CHECKSUM, silent)
    assert len(served.requests) == 1


def test_unreachable_server_is_an_error_that_names_the_address(served: Any, tmp_path: Path) -> None:
    address = "http://127.0.0.1:9/tool"
    with pytest.raises(ToolError, match=address):
        download.fetch(address, tmp_path / "tool", CHECKSUM, silent)


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no http"):
        download.fetch("file:///etc/hostname", tmp_path / "tool", CHECKSUM, silent)


def test_full_disk_is_not_tried_again(served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_receive", full)
    with pytest.raises(ToolError, match="No space left"):
        download.fetch(f"{served.url}/tool", tmp_path / "tool", CHECKSUM, silent)


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_only_wanted_files_are_taken_flat_and_executable(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.tar.gz", {"top/tool": b"1", "top/tool-python": b"2", "top/README": b"3"})
    target = tmp_path / "target"
    target.mkdir()
    assert sorted(download.unpack(source, target, "tool|tool-python")) == ["tool", "tool-python"]
    assert sorted(path.name for path in target.iterdir()) == ["tool", "tool-python"]
    assert (target / "tool").stat().st_mode & 0o111 == 0o111


def test_names_that_climb_out_land_inside(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.tar.gz", {"../../tool": b"1"})
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    download.unpack(source, target, "tool")
    assert (target / "tool").read_bytes() == b"1"
    assert not (tmp_path / "tool").exists()


@pytest.mark.parametrize("content", [b"", b"<html>please log in</html>"])
def test_damaged_archive_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "a.tar.gz"
    broken.write_bytes(content)
    with pytest.raises(ToolError, match=r"a\.tar\.gz"):
        download.unpack(broken, tmp_path, "tool")


def test_archive_without_the_programs_is_a_clear_error(tmp_path: Path) -> None:
    source = archive(tmp_path / "a.tar.gz", {"README": b"1"})
    with pytest.raises(ToolError, match="none of the expected files"):
        download.unpack(source, tmp_path, "tool")
