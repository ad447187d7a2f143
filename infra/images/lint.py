"""What a Dockerfile of the project keeps to; a text comes in, what is wrong with it comes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

USER = "10001:10001"
"""User and group that the pods run as, see `components.workload.USER`."""
_SECRET = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL)", re.IGNORECASE)
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined."""

    line: int
    name: str
    text: str


def instructions(dockerfile: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile in order, without comments."""
    found: list[Instruction] = []
    begun, start = "", 0
    for number, line in enumerate(dockerfile.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = start if begun else number
        begun += line.strip()
        if begun.endswith("\\"):
            begun = begun[:-1].rstrip() + " "
            continue
        name, _, text = begun.partition(" ")
        found.append(Instruction(start, name.upper(), text.strip()))
        begun = ""
    return found


def lint(dockerfile: str) -> list[str]:
    """Return what is wrong, a line each."""
    listed = instructions(dockerfile)
    return [f"line {one.line}: {wrong}" for one in listed for wrong in _wrong(one, listed)] + list(_whole(listed))


def _wrong(one: Instruction, listed: list[Instruction]) -> Iterator[str]:
    if one.name == "FROM":
        yield from _base(one, listed)
    if one.name == "ADD":
        yield "ADD fetches and unpacks: use COPY"
    if one.name in ("ARG", "ENV") and _SECRET.search(one.text.partition("=")[0]):
        yield f"{one.name} stays in the image's history: hand secrets over at run time"
    if one.name == "COPY" and re.search(r"(^|\s)\.{1,2}/?(\s|$)", one.text.rpartition(" ")[0]):
        yield "COPY takes the whole context: name what is copied"
    if one.name == "RUN":
        yield from _run(one.text)


def _base(one: Instruction, listed: list[Instruction]) -> Iterator[str]:
    base = one.text.split()[0]
    stages = {match[1] for other in listed if (match := re.search(r"\bAS\s+(\S+)$", other.text, re.IGNORECASE))}
    if base in stages or _DIGEST.search(base):
        return
    if base == "${BASE}":
        stated = (other.text for other in listed if other.name == "ARG" and re.match(r"BASE(=|$)", other.text))
        argument = next(stated, "")
        # Without a default the build fails until somebody names one; a default must be a digest.
        if argument != "BASE" and not _DIGEST.search(argument):
            yield f"the default of BASE is not pinned by digest: {argument or 'it is not declared'}"
        return
    yield f"base {base} is not pinned by digest"


def _run(text: str) -> Iterator[str]:
    if re.search(r"\b(curl|wget)\b.*\|\s*(ba)?sh\b", text):
        yield "runs what it fetches without looking at it"
    if re.search(r"\bsudo\b", text):
        yield "sudo has no place in an image"
    if "pip install" in text:
        for option in ("--no-cache-dir", "--require-hashes", "--no-deps"):
            if option not in text:
                yield f"pip install without {option}"
    if "apt-get install" in text:
        if "--no-install-recommends" not in text:
            yield "apt-get install without --no-install-recommends"
        if "/var/lib/apt/lists" not in text:
            yield "apt-get leaves its lists in the image"


def _whole(listed: list[Instruction]) -> Iterator[str]:
    if sum(one.name == "FROM" for one in listed) < 2:
        yield "one stage only: what builds the packages stays in the image"
    last = max((index for index, one in enumerate(listed) if one.name == "FROM"), default=0)
    users = [one.text for one in listed[last:] if one.name == "USER"]
    if users[-1:] != [USER]:
        yield f"the last stage runs as {users[-1] if users else 'root'}, not as {USER}"
