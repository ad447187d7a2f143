"""Downloads one archive of known checksum, in pieces that survive an interruption, and takes programs out of it."""

from __future__ import annotations

import errno
import hashlib
import http.client
import re
import socket
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from pathlib import Path

from infra.engine.cache import Progress
from infra.engine.errors import ToolError

_SILENCE_SECONDS = 5.0
"""How long to wait for a connection or the next bytes: short, so that a machine without network goes on soon."""

_PIECE = 1 << 20


class ChecksumError(ToolError):
    """What arrived is not what was pinned. It was deleted."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(address: str, target: Path, checksum: str, progress: Progress, *, tries: int = 3) -> None:
    """Download a file and accept it only with the given SHA-256.

    A part that arrived earlier is continued. A try that brought new bytes does not count.

    Raises:
        ToolError: It can't be reached or stopped coming; what has arrived is kept.
        ChecksumError: The content is another one.
    """
    if not address.startswith(("https://", "http://")):
        raise ToolError(f"{address} is no http or https address")
    if target.exists() and sha256(target) == checksum:
        return
    _check_name(address)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(target.suffix + ".part")
    continued = part.exists() and part.stat().st_size > 0
    while True:
        had = part.stat().st_size if part.exists() else 0
        try:
            _receive(address, part, progress)
            break
        except (OSError, http.client.HTTPException) as error:
            brought = (part.stat().st_size if part.exists() else 0) > had
            tries -= 0 if brought else 1
            # An answer that says no, or no connection at all: trying again only takes time.
            permanent = isinstance(error, urllib.error.URLError) or _disk_full(error)
            if permanent or tries <= 0:
                raise ToolError(f"{address}: {_reason(error)}") from error
            progress(f"{target.name}: the connection broke ({_reason(error)}), trying again")
    if sha256(part) != checksum:
        part.unlink()
        if continued:  # an old part of something else: once more from the start
            fetch(address, target, checksum, progress, tries=tries)
            return
        raise ChecksumError(f"{address} has not the pinned SHA-256 {checksum}: refused and deleted")
    part.replace(target)


def _check_name(address: str) -> None:
    """Fail soon when the host's name can't be found: a resolver without network may take half a minute to say so."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme in urllib.request.getproxies():
        return  # the proxy looks it up
    answers: list[object] = []

    def look_up() -> None:
        try:
            answers.append(socket.getaddrinfo(parts.hostname, parts.port or parts.scheme))
        except OSError as error:
            answers.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(_SILENCE_SECONDS)
    if not answers or isinstance(answers[0], OSError):
        raise ToolError(f"{address}: the name {parts.hostname} was not found (no network?)")


def _receive(address: str, part: Path, progress: Progress) -> None:
    """Append what is missing to a part."""
    begin = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"User-Agent": "mlops-blueprint"})  # noqa: S310 - scheme checked
    if begin:
        request.add_header("Range", f"bytes={begin}-")
    try:
        response = urllib.request.urlopen(request, timeout=_SILENCE_SECONDS)  # noqa: S310 - scheme checked by fetch
    except urllib.error.HTTPError as error:
        if begin and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the checksum decides
        raise
    with response:
        if begin and response.status != http.client.PARTIAL_CONTENT:
            begin = 0  # this server gives the whole file only
        length = response.headers.get("Content-Length")
        whole = begin + int(length) if length else None
        said = time.monotonic()
        with part.open("r+b" if begin else "wb") as stream:
            stream.seek(begin)
            while piece := response.read(_PIECE):
                stream.write(piece)
                if time.monotonic() - said > 5:
                    said = time.monotonic()
                    progress(f"{part.stem}: {stream.tell() >> 20} of {whole >> 20 if whole else '?'} MiB")
            if whole is not None and stream.tell() < whole:
                raise http.client.IncompleteRead(b"", whole - stream.tell())


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, http.client.IncompleteRead):
        return f"it ended {error.expected} bytes early"
    return str(inner or error) or type(error).__name__


def _disk_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


def unpack(archive: Path, folder: Path, keep: str) -> list[str]:
    """Take the files whose names match `keep` out of a tar archive, flat, as executables.

    Folders in the archive's names are ignored, so nothing can land elsewhere.

    Returns:
        The names of the files.

    Raises:
        ToolError: The archive is damaged or holds none of them.
    """
    taken = []
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                content = tar.extractfile(member) if member.isfile() and re.fullmatch(keep, name) else None
                if content is None:
                    continue
                target = folder / name
                with content, target.open("wb") as stream:
                    while piece := content.read(_PIECE):
                        stream.write(piece)
                target.chmod(0o755)
                taken.append(name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ToolError(f"{archive} is damaged: {error}") from error
    if not taken:
        raise ToolError(f"{archive} holds none of the expected files ({keep})")
    return taken
