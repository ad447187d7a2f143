"""SSH signatures (the SSHSIG format of OpenSSH and git), made and checked without a program.

Replicas check a signature each time they load a model, on hosts that need no OpenSSH; people can check the same bytes
with `ssh-keygen -Y verify`. The format is described in OpenSSH's PROTOCOL.sshsig: a signature names its key, a
namespace (what it is for) and a hash, and covers namespace and hash of the message.

A valid signature only says which key made it. Whose key that is and what it may sign is the trust root's answer
(`policies.releases.keys`).
"""

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
# NIST SP 800-131A: shorter RSA keys are disallowed.
MINIMUM_RSA_BITS = 2048

_MAGIC = b"SSHSIG"
_VERSION = 1
_ARMOR = re.compile(r"\s*-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n-----END SSH SIGNATURE-----\s*")
_HASHES = {"sha512": hashlib.sha512, "sha256": hashlib.sha256}
_CURVES: dict[str, hashes.HashAlgorithm] = {
    "ecdsa-sha2-nistp256": hashes.SHA256(),
    "ecdsa-sha2-nistp384": hashes.SHA384(),
    "ecdsa-sha2-nistp521": hashes.SHA512(),
}
_RSA: dict[str, hashes.HashAlgorithm] = {"rsa-sha2-512": hashes.SHA512(), "rsa-sha2-256": hashes.SHA256()}


class SignatureError(Exception):
    """A signature or key is not valid; the message says in which way."""


class AlteredError(SignatureError):
    """A signature is well made, but over other bytes than these."""


@dataclass(frozen=True)
class PublicKey:
    """A public key as SSH writes it: `blob` is the decoded middle word of an `id_ed25519.pub`."""

    blob: bytes

    @classmethod
    def parse(cls, text: str) -> "PublicKey":
        """Read `<type> <base64> [comment]`, the content of a `.pub` file.

        Raises:
            SignatureError: it is no such line, the type is not one of `KEY_TYPES`, or the key is too short.
        """
        words = text.split()
        if len(words) < 2:
            raise SignatureError("not a public key: expected <type> <base64>")
        try:
            key = cls(base64.b64decode(words[1], validate=True))
        except binascii.Error as error:
            raise SignatureError(f"not a public key: {error}") from None
        if key.type != words[0]:
            raise SignatureError(f"the key says that it is {key.type}, its line {words[0]}")
        _loaded(key)
        return key

    @property
    def type(self) -> str:
        """The key's type, for example `ssh-ed25519`."""
        return _Reader(self.blob).text()

    @property
    def fingerprint(self) -> str:
        """The fingerprint as `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def line(self) -> str:
        """Return `<type> <base64>`, as in a `.pub` file."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


def public_key(private: PrivateKey) -> PublicKey:
    """Return the public half of a private key."""
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return PublicKey(base64.b64decode(line.split()[1]))


def sign(private: PrivateKey, namespace: str, message: bytes) -> str:
    """Sign a message for one purpose.

    Args:
        private: the key.
        namespace: what the signature is for; it is valid for nothing else.
        message: what is signed; only its hash enters the signature.

    Returns:
        The signature in its armour, with a newline at the end.
    """
    data = _covered(namespace, "sha512", message)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        algorithm, value = "ssh-ed25519", private.sign(data)
    elif isinstance(private, rsa.RSAPrivateKey):
        algorithm = "rsa-sha2-512"
        value = private.sign(data, padding.PKCS1v15(), hashes.SHA512())
    else:
        algorithm = public_key(private).type
        r, s = utils.decode_dss_signature(private.sign(data, ec.ECDSA(_CURVES[algorithm])))
        value = _mpint(r) + _mpint(s)
    blob = b"".join(
        (
            _MAGIC,
            struct.pack(">I", _VERSION),
            _string(public_key(private).blob),
            _string(namespace.encode()),
            _string(b""),
            _string(b"sha512"),
            _string(_string(algorithm.encode()) + _string(value)),
        )
    )
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join(("-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""))


def verify(signature: str, namespace: str, message: bytes) -> PublicKey:
    """Check a signature and say which key made it.

    Args:
        signature: the signature in its armour.
        namespace: what it must be for.
        message: what it must cover.

    Returns:
        The key. Whether it is trusted, and whose it is, is not checked here.

    Raises:
        SignatureError: it is malformed, for another purpose, over other bytes, or of an algorithm that is not accepted.
    """
    armored = _ARMOR.fullmatch(signature)
    if armored is None:
        raise SignatureError("not an SSH signature: expected -----BEGIN SSH SIGNATURE-----")
    try:
        blob = base64.b64decode(armored[1].replace("\n", ""), validate=True)
    except binascii.Error as error:
        raise SignatureError(f"not an SSH signature: {error}") from None
    reader = _Reader(blob)
    if reader.take(len(_MAGIC)) != _MAGIC or reader.number() != _VERSION:
        raise SignatureError("not an SSH signature of version 1")
    key, stated, reserved, hash_name = PublicKey(reader.string()), reader.text(), reader.string(), reader.text()
    inner = _Reader(reader.string())
    reader.end()
    algorithm, value = inner.text(), inner.string()
    inner.end()
    if stated != namespace:
        raise SignatureError(f"the signature is for {stated!r}, not for {namespace!r}")
    if reserved or hash_name not in _HASHES:
        raise SignatureError(f"the signature uses hash {hash_name!r}, accepted are {', '.join(_HASHES)}")
    try:
        _check(key, algorithm, value, _covered(namespace, hash_name, message))
    except InvalidSignature:
        raise AlteredError("the signature does not match: what was signed is not what is here") from None
    return key


def _check(key: PublicKey, algorithm: str, value: bytes, data: bytes) -> None:
    loaded = _loaded(key)
    if isinstance(loaded, rsa.RSAPublicKey):
        if algorithm not in _RSA:
            raise SignatureError(f"signature algorithm {algorithm!r} is not accepted for {key.type}")
        loaded.verify(value, data, padding.PKCS1v15(), _RSA[algorithm])
        return
    if algorithm != key.type:
        raise SignatureError(f"signature algorithm {algorithm!r} is not accepted for {key.type}")
    if isinstance(loaded, ed25519.Ed25519PublicKey):
        loaded.verify(value, data)
        return
    numbers = _Reader(value)
    r, s = numbers.mpint(), numbers.mpint()
    numbers.end()
    loaded.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(_CURVES[key.type]))


def _loaded(key: PublicKey) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    if key.type not in KEY_TYPES:
        raise SignatureError(f"keys of type {key.type!r} are not accepted, only {', '.join(KEY_TYPES)}")
    try:
        loaded = load_ssh_public_key(key.line().encode())
    except (ValueError, NotImplementedError, UnsupportedAlgorithm) as error:
        raise SignatureError(f"not a public key: {error}") from None
    if isinstance(loaded, rsa.RSAPublicKey) and loaded.key_size < MINIMUM_RSA_BITS:
        raise SignatureError(f"the RSA key has {loaded.key_size} bits, accepted are {MINIMUM_RSA_BITS} and more")
    if not isinstance(loaded, (ed25519.Ed25519PublicKey, ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
        raise SignatureError(f"keys of type {key.type!r} are not accepted")
    return loaded


def _covered(namespace: str, hash_name: str, message: bytes) -> bytes:
    """The bytes that the key really signs."""
    if not namespace:
        raise SignatureError("a signature needs a namespace")
    hashed = _HASHES[hash_name](message).digest()
    return _MAGIC + _string(namespace.encode()) + _string(b"") + _string(hash_name.encode()) + _string(hashed)


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _mpint(number: int) -> bytes:
    # One bit more than the number needs, because the first bit is the sign.
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


class _Reader:
    """Reads SSH's wire format and refuses anything that is short, long or oddly encoded."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise SignatureError("the signature or key is cut off")
        self._at += size
        return piece

    def number(self) -> int:
        return int(struct.unpack(">I", self.take(4))[0])

    def string(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        try:
            return self.string().decode()
        except UnicodeDecodeError:
            raise SignatureError("the signature or key holds a name that is not text") from None

    def mpint(self) -> int:
        data = self.string()
        if not data or data[0] & 0x80:
            raise SignatureError("the signature holds a number that is not positive")
        return int.from_bytes(data, "big")

    def end(self) -> None:
        if self._at != len(self._data):
            raise SignatureError("the signature has bytes after its end")
