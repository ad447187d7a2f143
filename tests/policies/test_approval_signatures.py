"""SSH signatures of ours and of OpenSSH are the same thing, and a changed one is none."""

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from policies.releases.keys import KeyFileError, key_signer, program_signer, read_private_key
from policies.releases.signing import PrivateKey, PublicKey, SignatureError, public_key, sign, verify

needs_openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")

KEYS: dict[str, PrivateKey] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "nistp256": ec.generate_private_key(ec.SECP256R1()),
    "nistp384": ec.generate_private_key(ec.SECP384R1()),
    "nistp521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
}
SIGNATURES = {kind: sign(key, "purpose", b"text") for kind, key in KEYS.items()}
all_keys = pytest.mark.parametrize("kind", KEYS)


def write_key(path: Path, key: PrivateKey) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    path.with_name(path.name + ".pub").write_text(public_key(key).line() + " test\n")
    return path


def openssh_accepts(directory: Path, key: PrivateKey, namespace: str, message: bytes, signature: str) -> bool:
    (directory / "signers").write_text(f'asha@example.com namespaces="{namespace}" {public_key(key).line()}\n')
    (directory / "signature").write_text(signature)
    command = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "asha@example.com", "-n", namespace]
    done = subprocess.run([*command, "-s", "signature"], input=message, cwd=directory, capture_output=True, check=False)
    return done.returncode == 0


@all_keys
def test_signature_names_its_key_when_nothing_was_changed(kind: str) -> None:
    assert verify(sign(KEYS[kind], "purpose", b"text"), "purpose", b"text") == public_key(KEYS[kind])


@all_keys
@needs_openssh
def test_openssh_accepts_our_signature(kind: str, tmp_path: Path) -> None:
    signature = sign(KEYS[kind], "purpose:role", b"text")
    assert openssh_accepts(tmp_path, KEYS[kind], "purpose:role", b"text", signature)
    assert not openssh_accepts(tmp_path, KEYS[kind], "purpose:role", b"other text", signature)


@all_keys
@needs_openssh
def test_we_accept_the_signature_of_openssh(kind: str, tmp_path: Path) -> None:
    signer = program_signer(write_key(tmp_path / "key", KEYS[kind]))
    signature = signer("purpose", b"text")
    assert verify(signature, "purpose", b"text") == public_key(KEYS[kind])
    with pytest.raises(SignatureError, match="does not match"):
        verify(signature, "purpose", b"other text")


@needs_openssh
def test_fingerprint_is_that_of_openssh(tmp_path: Path) -> None:
    path = write_key(tmp_path / "key", KEYS["ed25519"])
    printed = subprocess.run(["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True).stdout
    assert public_key(KEYS["ed25519"]).fingerprint == printed.split()[1]


def test_signature_for_another_purpose_is_refused() -> None:
    with pytest.raises(SignatureError, match="for 'staging', not for 'prod'"):
        verify(sign(KEYS["ed25519"], "staging", b"text"), "prod", b"text")


@all_keys
@given(data=st.data())
def test_any_changed_bit_of_a_signature_is_found(kind: str, data: st.DataObject) -> None:
    blob = bytearray(base64.b64decode("".join(SIGNATURES[kind].splitlines()[1:-1])))
    bit = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[bit // 8] ^= 1 << bit % 8
    changed = f"-----BEGIN SSH SIGNATURE-----\n{base64.b64encode(blob).decode()}\n-----END SSH SIGNATURE-----\n"
    try:
        key = verify(changed, "purpose", b"text")
    except SignatureError:
        return
    assert key != public_key(KEYS[kind])


@given(cut=st.integers(1, 60))
def test_cut_signature_is_refused(cut: int) -> None:
    blob = base64.b64decode("".join(sign(KEYS["ed25519"], "purpose", b"text").splitlines()[1:-1]))[:-cut]
    armor = f"-----BEGIN SSH SIGNATURE-----\n{base64.b64encode(blob).decode()}\n-----END SSH SIGNATURE-----\n"
    with pytest.raises(SignatureError):
        verify(armor, "purpose", b"text")


@given(text=st.text())
def test_any_other_text_is_no_signature(text: str) -> None:
    with pytest.raises(SignatureError):
        verify(text, "purpose", b"text")


def test_rsa_key_below_the_minimum_is_refused() -> None:
    short = rsa.generate_private_key(65537, 1024)
    with pytest.raises(SignatureError, match="1024 bits"):
        verify(sign(short, "purpose", b"text"), "purpose", b"text")


@pytest.mark.parametrize(
    "line",
    ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa " + public_key(KEYS["ed25519"]).line().split()[1], "x y z"],
    ids=["empty", "no key", "cut short", "of another kind", "no key type"],
)
def test_malformed_public_key_is_refused(line: str) -> None:
    with pytest.raises(SignatureError):
        PublicKey.parse(line)


def test_private_key_is_refused_when_others_can_read_it(tmp_path: Path) -> None:
    path = write_key(tmp_path / "key", KEYS["ed25519"])
    assert verify(key_signer(read_private_key(path))("purpose", b""), "purpose", b"") == public_key(KEYS["ed25519"])
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match=re.escape(f"chmod 600 {path}")):
        read_private_key(path)


def test_unusable_private_key_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(KeyFileError, match="can't be read"):
        read_private_key(path)
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="not a usable private key"):
        read_private_key(path)
