"""Whose keys count for what: trust roots in git's allowed-signers format, and key files.

A trust root is a name and a list of lines such as

    asha@example.com namespaces="mlops-release-approval:model-risk",valid-before="20280101Z" ssh-ed25519 AAAA…
    trainer@example.com namespaces="mlops-model-artifact" ssh-ed25519 AAAA…

A role is part of the namespace, so that `ssh-keygen -Y verify` judges principal, role and validity by the same file
without any code of ours. We are stricter than OpenSSH: a line without `namespaces` is refused (it would grant every
role), so are patterns of principals (an approver is one person), certificates, and times without `Z`.
"""

import contextlib
import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from policies.releases.manifest import APPROVAL_NAMESPACE, ARTIFACT_NAMESPACE
from policies.releases.signing import PrivateKey, PublicKey, SignatureError, public_key, sign

# Signs a message for a namespace: `(namespace, message) -> signature`. The key may be in a file, an agent or a token.
Signer = Callable[[str, bytes], str]

# The trust root of everything that is shipped signed as an example. Environments that are no rehearsal refuse it.
REHEARSAL = "rehearsal"

_LEAST_SECRET = 43
"""Characters of 32 bytes in base 64."""
_NAMESPACE = re.compile(r"[a-z*?!][a-z0-9.:*?!-]*")
_PRINCIPAL = re.compile(r"[^\s,*?!]+")
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?Z")
_OPTION = re.compile(r'([A-Za-z-]+)="([^"]*)"(,|\s+)')


class KeyFileError(Exception):
    """A file of keys can't be used; the message names the file, and the line where there is one."""


@dataclass(frozen=True)
class AllowedSigner:
    """One line of a trust root: a key, whose it is, what it may sign and when."""

    principals: tuple[str, ...]
    namespaces: tuple[str, ...]
    key: PublicKey
    valid_after: datetime | None = None
    valid_before: datetime | None = None

    def may_sign(self, namespace: str) -> bool:
        """Say whether the line grants the namespace; as in OpenSSH a pattern with `!` takes it away."""
        if any(fnmatchcase(namespace, one[1:]) for one in self.namespaces if one.startswith("!")):
            return False
        return any(fnmatchcase(namespace, one) for one in self.namespaces if not one.startswith("!"))

    def valid_at(self, time: datetime) -> bool:
        """Say whether the key is valid at a time: from `valid_after`, before `valid_before`."""
        if self.valid_after is not None and time < self.valid_after:
            return False
        return self.valid_before is None or time < self.valid_before

    def line(self) -> str:
        """Return the line in allowed-signers format."""
        options = [f'namespaces="{",".join(self.namespaces)}"']
        for name, time in (("valid-after", self.valid_after), ("valid-before", self.valid_before)):
            if time is not None:
                options.append(f'{name}="{time.astimezone(UTC):%Y%m%d%H%M%SZ}"')
        return f"{','.join(self.principals)} {','.join(options)} {self.key.line()}"


@dataclass(frozen=True)
class TrustRoot:
    """A named list of keys that somebody decided to trust, for example `prod` or `rehearsal`."""

    name: str
    signers: tuple[AllowedSigner, ...]

    def without(self, keys: Collection[PublicKey]) -> "TrustRoot":
        """Return the trust root without the lines of some keys."""
        return TrustRoot(self.name, tuple(one for one in self.signers if one.key not in keys))

    def find(self, key: PublicKey, principal: str, namespace: str, times: Iterable[datetime]) -> AllowedSigner:
        """Return the line that lets `principal` sign for `namespace` with `key` at all of `times`.

        Raises:
            SignatureError: there is none; the message says what comes closest.
        """
        lines = [one for one in self.signers if one.key == key]
        if not lines:
            raise SignatureError(f"unknown signer: trust root {self.name!r} does not hold key {key.fingerprint}")
        lines = [one for one in lines if principal in one.principals]
        if not lines:
            raise SignatureError(f"key {key.fingerprint} is not {principal}'s in trust root {self.name!r}")
        lines = [one for one in lines if one.may_sign(namespace)]
        if not lines:
            raise SignatureError(f"trust root {self.name!r} does not let {principal} sign for {namespace!r}")
        wanted = tuple(times)
        for one in lines:
            if all(one.valid_at(time) for time in wanted):
                return one
        moments = " and ".join(moment(time) for time in wanted)
        raise SignatureError(f"key {key.fingerprint} of {principal} is not valid at {moments}")


def moment(time: datetime) -> str:
    """Write a time for people, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def parse_trust_root(name: str, text: str, where: str = "") -> TrustRoot:
    """Read the text of an allowed-signers file.

    Args:
        name: the name of the trust root.
        text: the file's content.
        where: the file's path, for messages.

    Raises:
        KeyFileError: with the line that can't be read and why.
    """
    signers = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            signers.append(_parse_line(stripped))
        except (SignatureError, ValueError) as error:
            raise KeyFileError(f"{where or name}, line {number}: {error}") from None
    if not signers:
        raise KeyFileError(f"{where or name}: holds no signer; a trust root without keys admits nothing")
    return TrustRoot(name, tuple(signers))


def _parse_line(line: str) -> AllowedSigner:
    principals, _, rest = line.partition(" ")
    names = tuple(principals.split(","))
    for name in names:
        if not _PRINCIPAL.fullmatch(name):
            raise ValueError(f"principal {name!r}: expected one literal name, patterns are not accepted")
    options, rest = _parse_options(rest.strip())
    if "namespaces" not in options:
        raise ValueError(
            f'namespaces="…" is missing; say what the key may sign, for example {APPROVAL_NAMESPACE}:model-risk'
        )
    namespaces = tuple(options["namespaces"].split(","))
    for namespace in namespaces:
        if not _NAMESPACE.fullmatch(namespace):
            raise ValueError(f"namespace {namespace!r}: lower-case letters, digits, '.', ':' and '-' only")
    return AllowedSigner(
        principals=names,
        namespaces=namespaces,
        key=PublicKey.parse(rest),
        valid_after=_time(options.get("valid-after")),
        valid_before=_time(options.get("valid-before")),
    )


def _parse_options(text: str) -> tuple[dict[str, str], str]:
    """Split `a="b",c="d" <key>` into options and the key; there may be no option at all."""
    options: dict[str, str] = {}
    while match := _OPTION.match(text):
        name = match[1].lower()
        if name not in {"namespaces", "valid-after", "valid-before"}:
            raise ValueError(f"option {match[1]!r} is not known")
        if name in options:
            raise ValueError(f"option {match[1]!r} stands twice")
        options[name] = match[2]
        text = text[match.end() :]
        if match[3] != ",":
            break
    if text.startswith("cert-authority"):
        raise ValueError("cert-authority is not accepted; list the keys themselves")
    return options, text


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"time {text!r}: expected YYYYMMDDZ or YYYYMMDDHHMM[SS]Z, in UTC")
    year, month, day, hour, minute, second = (int(part) for part in match.groups("0"))
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def read_trust_root(name: str, path: Path) -> TrustRoot:
    """Read a trust root from its allowed-signers file.

    Raises:
        KeyFileError: the file is missing or not readable as such.
    """
    try:
        return parse_trust_root(name, path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: trust root {name!r} can't be read: {error}") from None


def read_private_key(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """Read a private key in OpenSSH's format.

    Raises:
        KeyFileError: the file is missing, readable by others, encrypted without a passphrase, or of another type.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise KeyFileError(f"{path}: a private key that others can read; run chmod 600 {path}")
        content = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path}: the private key can't be read: {error.strerror}") from None
    return parse_private_key(content, str(path), passphrase)


def parse_private_key(content: bytes, where: str, passphrase: bytes | None = None) -> PrivateKey:
    """Read a private key in OpenSSH's format.

    Args:
        content: the key.
        where: where it comes from, for messages.
        passphrase: what it is encrypted with.

    Raises:
        KeyFileError: it is none, encrypted without a passphrase, or of another type.
    """
    try:
        key = load_ssh_private_key(content, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{where}: not a usable private key in OpenSSH format: {error}") from None
    if not isinstance(key, (ed25519.Ed25519PrivateKey, ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise KeyFileError(f"{where}: keys of this type are not accepted; make one with ssh-keygen -t ed25519")
    return key


def key_signer(private: PrivateKey) -> Signer:
    """Sign with a key that this process holds."""
    return lambda namespace, message: sign(private, namespace, message)


def program_signer(key: Path) -> Signer:
    """Sign through `ssh-keygen -Y sign`, which asks for passphrases and reaches agents.

    Args:
        key: the private key's file, or the `.pub` file of a key that an agent holds.
    """

    def signer(namespace: str, message: bytes) -> str:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "message"
            path.write_bytes(message)
            command = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", namespace, str(path)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                raise KeyFileError("ssh-keygen is not installed; give an unencrypted key file instead") from None
            if done.returncode != 0:
                raise KeyFileError(f"{key}: ssh-keygen could not sign: {done.stderr.strip()}")
            return path.with_suffix(".sig").read_text()

    return signer


def make_key(path: Path, comment: str) -> PrivateKey:
    """Make an Ed25519 key pair in `path` (mode 0600) and `path`.pub, or read the one that is there.

    Raises:
        KeyFileError: there is a file that is no usable key.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = ed25519.Ed25519PrivateKey.generate()
        content = made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-") as file:  # mode 0600 from the start
            file.write(content)
            file.flush()
            # A link instead of a rename: of two makers at once the first wins, and nobody overwrites a key.
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(file.name)
    private = read_private_key(path)
    path.with_name(path.name + ".pub").write_text(f"{public_key(private).line()} {comment}\n")
    return private


def derive_key(secret: str, purpose: str) -> PrivateKey:
    """Return the Ed25519 key that a secret stands for, where no disk outlives the process: HKDF with SHA-256, RFC 5869.

    Args:
        secret: at least 32 random bytes, as text.
        purpose: what the key is for; each purpose has its own.

    Raises:
        KeyFileError: the secret is too short.
    """
    if len(secret) < _LEAST_SECRET:
        raise KeyFileError(f"the secret of the key for {purpose}: expected at least {_LEAST_SECRET} characters")
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=purpose.encode()).derive(secret.encode())
    return ed25519.Ed25519PrivateKey.from_private_bytes(derived)


@dataclass(frozen=True)
class DemoPerson:
    """A made-up person with a key of their own."""

    principal: str
    role: str | None
    key: Path


@dataclass(frozen=True)
class DemoKeys:
    """The keys that `local` makes so that approvals can be tried: who trains never approves here either."""

    trainer: DemoPerson
    approvers: tuple[DemoPerson, ...]
    allowed_signers: Path
    trust_root: TrustRoot


def make_demo_keys(directory: Path, name: str = "local") -> DemoKeys:
    """Make the demo keys of an environment and its allowed-signers file, or read those that are there.

    Args:
        directory: where they lie, mode 0700; private keys get mode 0600.
        name: the name of the trust root; the principals are `trainer@<name>`, `owner@<name>` and `risk@<name>`.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    trainer = DemoPerson(f"trainer@{name}", None, directory / "trainer")
    approvers = (
        DemoPerson(f"owner@{name}", "model-owner", directory / "owner"),
        DemoPerson(f"risk@{name}", "model-risk", directory / "risk"),
    )
    signers = _demo_signers((trainer, *approvers))
    path = directory / "allowed_signers"
    _write_once(path, "".join(f"{one.line()}\n" for one in signers))
    return DemoKeys(trainer, approvers, path, TrustRoot(name, signers))


def _write_once(path: Path, text: str) -> None:
    """Write a file that others read at any time: they see all of it, and it is left alone where it says the same."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == text:
            return
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    hidden.write_text(text)
    hidden.replace(path)


def _demo_signers(people: Sequence[DemoPerson]) -> tuple[AllowedSigner, ...]:
    return tuple(
        AllowedSigner(
            principals=(person.principal,),
            namespaces=(ARTIFACT_NAMESPACE if person.role is None else f"{APPROVAL_NAMESPACE}:{person.role}",),
            key=public_key(make_key(person.key, person.principal)),
        )
        for person in people
    )
