"""Whether a gate opens: a pure function of what it is asked, the verdict, the statement, the keys and the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from policies.facts import EnvironmentKind
from policies.gates import breakglass, verdict
from policies.gates.breakglass import PEOPLE, BreakGlass
from policies.gates.verdict import Verdict
from policies.releases.keys import REHEARSAL, KeyFileError, TrustRoot, moment, parse_trust_root
from policies.releases.signing import PublicKey, SignatureError, verify

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far the clock of who signed may be ahead of the gate's."""
GATED: frozenset[EnvironmentKind] = frozenset({"staging", "prod"})
"""Kinds of environments whose gate asks for a verdict."""
_DIRTY = "-dirty"


class GateClosedError(Exception):
    """The gate does not open; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a gate is asked to let through.

    Attributes:
        stack: name of the stack.
        environment: kind of the environment.
        commit: the program's commit; `-dirty` at its end where files differ.
        configuration: digest of the settings.
        policies: digest of the policies that are there.
        trust_root: name of the trust root.
        allowed_signers: its keys, in the format of allowed signers.
        rehearsal: whether the environment is a stand-in of one.
    """

    stack: str
    environment: EnvironmentKind
    commit: str
    configuration: str
    policies: str
    trust_root: str
    allowed_signers: str
    rehearsal: bool = False


@dataclass(frozen=True)
class Passage:
    """By what a gate opened.

    Attributes:
        by: a passing verdict, or a break-glass statement.
        people: who signed it.
        digest: digest of what they signed.
        expires: when it ends.
        reason: of a break-glass statement, why.
    """

    by: Literal["verdict", "break-glass"]
    people: tuple[str, ...]
    digest: str
    expires: datetime
    reason: str = ""


def in_rehearsal(environ: Mapping[str, str]) -> bool:
    """Return whether AWS is played on this machine, so that nothing of an account can be reached."""
    host = urlsplit(environ.get("AWS_ENDPOINT_URL", "")).hostname
    return host in ("127.0.0.1", "localhost", "::1")


def decide(question: Question, found: Verdict | None, statement: BreakGlass | None, now: datetime) -> Passage:
    """Return by what the gate opens.

    Args:
        question: what is to be let through.
        found: the verdict that is there.
        statement: the break-glass statement that is there; looked at only where the verdict does not open.
        now: the time, with its zone.

    Raises:
        GateClosedError: nothing opens it.
    """
    root = _trust_root(question)
    try:
        return _by_verdict(question, root, found, now)
    except GateClosedError as error:
        if statement is None:
            raise
        refused = str(error)
    try:
        return _by_people(question, root, statement, now)
    except GateClosedError as error:
        raise GateClosedError(f"{refused}; the break-glass statement does not open it either: {error}") from None


def by_people(question: Question, statement: BreakGlass, now: datetime) -> Passage:
    """Return who answers for what no verdict covers.

    Raises:
        GateClosedError: the statement does not hold here.
    """
    return _by_people(question, _trust_root(question), statement, now)


def _trust_root(question: Question) -> TrustRoot:
    name = question.trust_root
    if (name == REHEARSAL) != question.rehearsal:
        what = "this is a rehearsal, whose trust root is" if question.rehearsal else "this is no rehearsal, but it is"
        raise GateClosedError(f"the trust root of its gate is {name!r}; {what} {REHEARSAL!r}")
    if not question.commit:
        raise GateClosedError("the program is of no commit: deploy from a git checkout")
    if question.commit.endswith(_DIRTY) and not question.rehearsal:
        raise GateClosedError(f"files differ from commit {question.commit.removesuffix(_DIRTY)}: commit or remove them")
    if not question.allowed_signers.strip():
        raise GateClosedError("no keys are trusted: state gates.allowedSigners in the stack's settings")
    try:
        return parse_trust_root(name, question.allowed_signers, "gates.allowedSigners")
    except KeyFileError as error:
        raise GateClosedError(str(error)) from None


def _by_verdict(question: Question, root: TrustRoot, found: Verdict | None, now: datetime) -> Passage:
    if found is None:
        raise GateClosedError("there is no verdict: `./mlops gate check` makes it, and `./mlops up` as its first step")
    if found.signature is None or found.principal is None:
        raise GateClosedError("the verdict is not signed" + _stopped(found))
    principal = found.principal
    key = _signed(lambda: verify(str(found.signature), verdict.NAMESPACE, verdict.signed_bytes(found)), "the verdict")
    _trusted(root, key, principal, verdict.NAMESPACE, (found.made_at, now), "the verdict")
    _meant("the verdict", "trust root", found.trust_root, question.trust_root)
    for name in ("stack", "environment", "commit", "configuration", "policies"):
        _meant("the verdict", name, getattr(found, name), getattr(question, name))
    _in_time("the verdict", found.made_at, found.expires_at, now)
    if found.outcome != "passed":
        raise GateClosedError("the verdict did not pass" + _stopped(found))
    return Passage("verdict", (principal,), found.digest, found.expires_at)


def _stopped(found: Verdict) -> str:
    said = [f"{one.rule} ({one.subject}): {one.text}" for one in found.stops]
    said += [f"{one.rule} ({one.subject}): {one.answer}: {one.text}" for one in found.deferred if one.stops]
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    return f"; it says {'; '.join(said[:3])}{more}" if said else ""


def _by_people(question: Question, root: TrustRoot, statement: BreakGlass, now: datetime) -> Passage:
    what = "it"
    _meant(what, "stack", statement.stack, question.stack)
    _meant(what, "commit", statement.commit, question.commit)
    _meant(what, "trust root", statement.trust_root, question.trust_root)
    _in_time(what, statement.made_at, statement.expires_at, now)
    keys: dict[PublicKey, str] = {}
    for one in statement.witnesses:
        key = _signed(
            lambda one=one: verify(  # type: ignore[misc]
                one.signature, breakglass.NAMESPACE, breakglass.signed_bytes(statement, one.principal)
            ),
            f"the signature of {one.principal}",
        )
        times = (statement.made_at, now)
        _trusted(root, key, one.principal, breakglass.NAMESPACE, times, f"the signature of {one.principal}")
        keys[key] = one.principal
    people = sorted(set(keys.values()))
    if len(people) < PEOPLE:
        raise GateClosedError(
            f"it has {len(people)} of {PEOPLE} names, each with a key of their own"
            + (f" ({', '.join(people)})" if people else "")
        )
    return Passage("break-glass", tuple(people), statement.digest, statement.expires_at, statement.reason)


def _signed(check: Callable[[], PublicKey], what: str) -> PublicKey:
    try:
        return check()
    except SignatureError as error:
        raise GateClosedError(f"{what} is not to be trusted: {error}") from None


def _trusted(
    root: TrustRoot, key: PublicKey, principal: str, namespace: str, times: tuple[datetime, ...], what: str
) -> None:
    try:
        root.find(key, principal, namespace, times)
    except SignatureError as error:
        raise GateClosedError(f"{what} is not to be trusted: {error}") from None


def _meant(what: str, name: str, stated: str, asked: str) -> None:
    if stated != asked:
        raise GateClosedError(f"{what} is for another {name}: {_short(stated)}, and this is {_short(asked)}")


def _short(text: str) -> str:
    return text if len(text) <= 52 else f"{text[:19]}…"


def _in_time(what: str, made: datetime, expires: datetime, now: datetime) -> None:
    if made > now + CLOCK_TOLERANCE:
        raise GateClosedError(f"{what} was made at {moment(made)}, and it is {moment(now)}: a clock is wrong")
    if now >= expires:
        raise GateClosedError(f"{what} has expired at {moment(expires)}")
