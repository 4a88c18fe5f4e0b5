"""Public keys and private ones, as ssh-keygen reads them."""

import base64
import subprocess
from pathlib import Path

import pytest

from testum.core.sshkeys import check_private_key, parse_public_key
from testum.errors import InvalidInput


@pytest.fixture(scope="module")
def keygen(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("keys")

    def make(kind: str, bits: str, passphrase: str, form: str) -> Path:
        path = folder / f"{kind}-{bits}-{form}-{bool(passphrase)}"
        if not path.exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", kind, *(["-b", bits] if bits else []), "-N", passphrase]
                + (["-m", form] if form != "openssh" else [])
                + ["-C", "a comment", "-f", str(path)],
                check=True,
            )
        return path

    return make


@pytest.mark.parametrize("passphrase", ["", "pass phrase"])
@pytest.mark.parametrize(
    ("kind", "bits", "form"),
    [
        ("ed25519", "", "openssh"),
        ("rsa", "2048", "openssh"),
        ("rsa", "2048", "PEM"),
        ("rsa", "2048", "PKCS8"),
        ("ecdsa", "256", "openssh"),
        ("ecdsa", "384", "PEM"),
        ("ecdsa", "521", "PKCS8"),
    ],
)
def test_keys_of_every_common_form_are_read_as_ssh_keygen_reads_them(
    keygen, kind: str, bits: str, form: str, passphrase: str
) -> None:  # type: ignore[no-untyped-def]
    path = keygen(kind, bits, passphrase, form)
    public = parse_public_key(Path(f"{path}.pub").read_text())
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", f"{path}.pub"], check=True, capture_output=True, text=True
    )
    assert shown.stdout.split()[1] == public.fingerprint
    assert public.comment == "a comment"
    assert check_private_key(path.read_text(), passphrase or None) == public.identity
    if passphrase:
        assert check_private_key(path.read_text(), None) is None
        with pytest.raises(InvalidInput) as caught:
            check_private_key(path.read_text(), "wrong")
        assert caught.value.fields[0].field == "passphrase"


@pytest.mark.parametrize("cipher", ["aes256-gcm@openssh.com", "aes256-cbc", "aes256-ctr"])
def test_a_wrong_passphrase_is_told_whatever_the_cipher(tmp_path: Path, cipher: str) -> None:
    path = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "pw1", "-Z", cipher, "-f", str(path)]
    subprocess.run(command, check=True)
    public = parse_public_key(Path(f"{path}.pub").read_text())
    assert check_private_key(path.read_text(), "pw1") == public.identity
    assert check_private_key(path.read_text(), None) is None
    with pytest.raises(InvalidInput) as caught:
        check_private_key(path.read_text(), "pw2")
    assert caught.value.fields[0].field == "passphrase"


def wire(*parts: bytes) -> bytes:
    """Strings as SSH sends them (RFC 4251, section 5)."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def rsa(bits: int, exponent: bytes = b"\1\0\1", zeros: bytes = b"\0") -> bytes:
    modulus = (1 << (bits - 1)) + 1
    return wire(b"ssh-rsa", exponent, zeros + modulus.to_bytes(bits // 8, "big"))


ED25519 = b"sk-ssh-ed25519@openssh.com"
ECDSA = b"sk-ecdsa-sha2-nistp256@openssh.com"
POINT = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
BLOBS = {
    "sk ed25519": (wire(ED25519, b"x" * 32, b"ssh:"), True),
    "sk ed25519, short": (wire(ED25519, b"short"), False),
    "sk ed25519, no application": (wire(ED25519, b"x" * 32), False),
    "sk ed25519, 31 bytes": (wire(ED25519, b"x" * 31, b"ssh:"), False),
    "sk ed25519, cut": (wire(ED25519, b"x" * 32, b"ssh:")[:-1], False),
    "sk ed25519, more behind": (wire(ED25519, b"x" * 32, b"ssh:", b"more"), False),
    "sk ecdsa": (wire(ECDSA, b"nistp256", POINT, b"ssh:"), True),
    "sk ecdsa, no point": (wire(ECDSA, b"nistp256", POINT[:-1] + b"\0", b"ssh:"), False),
    "sk ecdsa, another curve": (wire(ECDSA, b"nistp384", POINT, b"ssh:"), False),
    "sk ecdsa, compressed point": (wire(ECDSA, b"nistp256", b"\3" + POINT[1:33], b"ssh:"), False),
    "sk ed25519, NUL in the application": (wire(ED25519, b"x" * 32, b"ssh:\0x"), False),
    "sk ecdsa, NUL in the application": (wire(ECDSA, b"nistp256", POINT, b"ssh:\0x"), False),
    "rsa 512": (rsa(512), False),
    "rsa 1024": (rsa(1024), True),
    "rsa 16384": (rsa(16384), True),
    "rsa 16392": (rsa(16392), False),
}


def as_ssh(folder: Path, line: str) -> str | None:
    """The fingerprint, as ssh-keygen shows it."""
    (folder / "key.pub").write_text(line + "\n")
    command = ["ssh-keygen", "-lf", str(folder / "key.pub")]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    return shown.stdout.split()[1] if shown.returncode == 0 else None


def a_line(blob: bytes) -> str:
    name = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode()
    return f"{name} {base64.b64encode(blob).decode()}"


@pytest.mark.parametrize("case", BLOBS)
def test_public_keys_are_judged_as_ssh_keygen_judges_them(tmp_path: Path, case: str) -> None:
    blob, good = BLOBS[case]
    line = f"{a_line(blob)} of mine"
    fingerprint = as_ssh(tmp_path, line)
    assert (fingerprint is not None) is good
    if good:
        assert parse_public_key(line).fingerprint == fingerprint
        return
    with pytest.raises(InvalidInput):
        parse_public_key(line)


PLAIN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2"
PADDED = a_line(wire(ED25519, b"x" * 32, b"ssh:"))
REFUSED_BY_US_ALONE = {
    f"no-pty {PLAIN}": "options before the key",
    f"{PLAIN}\n{PLAIN}": "several lines",
    a_line(rsa(1024)).replace("ssh-rsa ", "rsa-sha2-512 "): "`rsa-sha2-512` as the first word",
    a_line(wire(ED25519, b"x" * 32, b"")): "a security key without an application",
    a_line(wire(b"ssh-ed25519\0", b"x" * 32)).replace("\0", ""): "a zero byte behind the type's name",
    f"{PLAIN} a\tb": "a tab or another control character in the comment",
    f"{PLAIN} a\x01b": "a tab or another control character in the comment",
    a_line(wire(b"ssh-dss", *[b"\0" + b"\x81" * 128, b"\0" + b"\x81" * 20, b"\2", b"\2"])): "DSA",
    **{
        a_line(rsa(2048, exponent)): "RSA with an exponent that is even or less than 3"
        for exponent in (b"", b"\1", b"\2", b"\4")
    },
    a_line(rsa(2048, zeros=b"\0\0")): "RSA with leading zeros in its numbers",
    a_line(rsa(2048, b"\0\1\0\1")): "RSA with leading zeros in its numbers",
}
"""What Debian's ssh-keygen reads, and how docs/guide/files.md names it."""


@pytest.mark.parametrize("line", REFUSED_BY_US_ALONE)
def test_public_keys_that_only_ssh_keygen_reads_are_named(tmp_path: Path, line: str) -> None:
    assert (
        REFUSED_BY_US_ALONE[line] in (Path(__file__).parents[2] / "docs" / "guide" / "files.md").read_text()
    )
    assert as_ssh(tmp_path, line) is not None
    with pytest.raises(InvalidInput):
        parse_public_key(line)


@pytest.mark.parametrize("line", [f"{PLAIN}=", f"{PLAIN}====", f"{PADDED}===", f"{PADDED[:-2]}p="])
def test_base64_that_no_encoder_writes_is_refused(tmp_path: Path, line: str) -> None:
    assert PADDED.endswith("o=") and as_ssh(tmp_path, PADDED) == parse_public_key(PADDED).fingerprint
    assert as_ssh(tmp_path, line) is None
    with pytest.raises(InvalidInput, match="damaged"):
        parse_public_key(line)


@pytest.mark.parametrize("gaps", ["\t", " \t ", "\t\t"])
def test_tabs_between_the_parts_become_one_space(tmp_path: Path, gaps: str) -> None:
    line = gaps.join((*PLAIN.split(" "), "mine"))
    assert parse_public_key(line).fingerprint == as_ssh(tmp_path, line)
    assert parse_public_key(line).line == f"{PLAIN} mine"


def test_an_rsa_key_of_too_many_bits_is_told_so() -> None:
    with pytest.raises(InvalidInput, match="at most 16384 bits"):
        parse_public_key(a_line(rsa(16392)))


@pytest.mark.parametrize("space", ["\u00a0", "\u2003", "\u3000", "\x0b"])
def test_what_only_looks_like_a_space_is_none(space: str) -> None:
    line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2"
    assert parse_public_key(line).comment == ""
    with pytest.raises(InvalidInput):
        parse_public_key(line.replace(" ", space))
    with pytest.raises(InvalidInput):
        parse_public_key(space + line)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 ????",
        "ssh-dss AAAAB3NzaC1kc3M= x",
        "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2 a\nssh-rsa b",
        'command="x" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2',
        "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----",
        "ssh-ed25519 " + "A" * 100_000,
    ],
)
def test_what_is_no_public_key_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_public_key(text)
    assert caught.value.fields[0].field == "public_key"


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_what_is_no_private_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        check_private_key(text, None)
