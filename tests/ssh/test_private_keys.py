"""Every form of private key that people have: what is accepted logs in, what is refused ssh refuses, too."""

import base64
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from asyncssh.asn1 import der_decode, der_encode

from tests.ssh.conftest import begin
from tests.ssh.test_run import marker
from testum import private_keys
from testum.core.sshkeys import check_private_key
from testum.errors import InvalidInput
from testum.ssh import Command, Exit, KeyAuth, Timeouts

PASSPHRASE = "correct horse"
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "guide" / "files.md"

_CIPHERS = (
    *("3des-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc", "aes128-ctr", "aes192-ctr", "aes256-ctr"),
    *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"),
)
_OLD = "-provider legacy -provider default"
_PKCS8 = {
    "pkcs8-scrypt": "-scrypt",
    "pkcs8-aes256": "-v2 aes256",
    "pkcs8-aes128-sha512": "-v2 aes-128-cbc -v2prf hmacWithSHA512",
    "pkcs8-3des": "-v2 des3",
    "pkcs8-1-3des": "-v1 PBE-SHA1-3DES",
    "pkcs8-1-rc4": f"-v1 PBE-SHA1-RC4-128 {_OLD}",
    "pkcs8-1-md5-des": f"-v1 PBE-MD5-DES {_OLD}",
    "pkcs8-camellia": "-v2 camellia-256-cbc",
    "pkcs8-aria": "-v2 aria-256-cbc",
    "pkcs8-sm4": "-v2 sm4-cbc",
    "pkcs8-aes192-cfb": "-v2 aes-192-cfb",
    "pkcs8-aes256-ofb": "-v2 aes-256-ofb",
    "pkcs8-des": f"-v2 des-cbc {_OLD}",
    "pkcs8-rc2": f"-v2 rc2-cbc {_OLD}",
    "pkcs8-blowfish": f"-v2 bf-cbc {_OLD}",
    "pkcs8-cast5": f"-v2 cast5-cbc {_OLD}",
    "pkcs8-hmac-md5": "-v2 aes256 -v2prf hmacWithMD5",
    "pkcs8-hmac-sha512-224": "-v2 aes256 -v2prf hmacWithSHA512-224",
    "pkcs8-hmac-sha512-256": "-v2 aes256 -v2prf hmacWithSHA512-256",
}
_KINDS = {
    "rsa-pss": "RSA-PSS -pkeyopt rsa_keygen_bits:2048",
    "pkcs8-ed25519": "ED25519",
    "ed448": "ED448",
    "x25519": "X25519",
    "pkcs8-p256": "EC -pkeyopt ec_paramgen_curve:P-256",
    "secp256k1": "EC -pkeyopt ec_paramgen_curve:secp256k1",
    "p224": "EC -pkeyopt ec_paramgen_curve:P-224",
    "p256-explicit": "EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
    "rsa-1024": "RSA -pkeyopt rsa_keygen_bits:1024",
    "rsa-768": "RSA -pkeyopt rsa_keygen_bits:768",
    "rsa-three-primes": "RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3",
    "rsa-exponent-3": "RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3",
}

TAKEN_BY_US_ALONE = {
    "byte-order-mark": "a byte order mark",
    "carriage-returns": "lines that end in CR LF",
    "indented": "indented lines",
    "text-before": "text before the key",
    "no-newline": "no newline at the end",
    "pkcs8-ed25519": "Ed25519 in PKCS#8",
    "rsa-pss": "RSA-PSS",
    "spaces-at-ends": "spaces at the ends of lines",
    "header": "other header lines in a PEM key",
    **dict.fromkeys(
        ("pkcs8-1-rc4", "pkcs8-1-md5-des", "pkcs8-rc2"),
        "PKCS#8 encrypted with RC2 or RC4, or by PBE with DES",
    ),
}
"""What Debian's ssh-keygen refuses, and how docs/guide/files.md names it."""
_STRETCHED = "PKCS#8 whose passphrase is stretched by HMAC-MD5, HMAC-SHA512-224 or HMAC-SHA512-256"
TAKEN_BY_SSH_ALONE = {
    "pkcs8-camellia": "Camellia",
    "pem-camellia256": "Camellia",
    "pkcs8-aria": "ARIA",
    "pem-aria256": "ARIA",
    "pkcs8-sm4": "SM4",
    "pkcs8-aes192-cfb": "AES in the modes CFB and OFB",
    "pkcs8-aes256-ofb": "AES in the modes CFB and OFB",
    "pem-des-ede-cbc": "two-key triple DES",
    "dsa": "| DSA | refused",
    "pkcs8-hmac-md5": _STRETCHED,
    "pkcs8-hmac-sha512-224": _STRETCHED,
    "pkcs8-hmac-sha512-256": _STRETCHED,
    "rsa-three-primes": "RSA of three or more primes",
    "rsa-damaged-d": "RSA with a damaged `d` or `p`",
    "rsa-damaged-p": "RSA with a damaged `d` or `p`",
}


def _in_shell(folder: Path, lines: list[str]) -> None:
    subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=folder, check=True, capture_output=True)


def _encrypted(folder: Path, commands: dict[str, str]) -> dict[str, str | None]:
    _in_shell(folder, list(commands.values()))
    return dict.fromkeys(commands, PASSPHRASE)


def forms(folder: Path) -> dict[str, str | None]:
    """Makes the key files; their names, and the passphrases of those that have one."""
    word = f"'{PASSPHRASE}'"
    made: dict[str, str | None] = {}
    plain = {
        f"{kind}-{bits}": f"ssh-keygen -q -t {kind} -b {bits} -N '' -f {kind}-{bits}"
        for kind, bits in (("ed25519", 256), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048))
    }
    plain |= {f"{name}": f"openssl genpkey -algorithm {kind} -out {name}" for name, kind in _KINDS.items()}
    plain |= {
        "pem-rsa": "cp rsa-2048 pem-rsa; ssh-keygen -q -p -m PEM -P '' -N '' -f pem-rsa",
        "pkcs8-rsa": "cp rsa-2048 pkcs8-rsa; ssh-keygen -q -p -m PKCS8 -P '' -N '' -f pkcs8-rsa",
        "dsa": "openssl dsaparam -genkey -out dsa 1024",
        "sec1": "openssl ec -in pkcs8-p256 -out sec1",
        "sec1-with-parameters": "openssl ecparam -genkey -name prime256v1 -out sec1-with-parameters",
    }
    # Without a passphrase puttygen asks for one, but for that of a file.
    for kind in ("rsa", "ed25519", "ecdsa"):
        plain[f"{kind}.ppk"] = f"puttygen -q -t {kind} -o {kind}.ppk --new-passphrase /dev/null"
        for form in ("private-openssh", "private-openssh-new"):
            plain[f"{kind}-{form}"] = f"puttygen {kind}.ppk -O {form} -o {kind}-{form}"
    _in_shell(folder, list(plain.values()))
    made |= dict.fromkeys(plain)
    made |= _encrypted(
        folder,
        {cipher: f"ssh-keygen -q -t ed25519 -a 1 -Z {cipher} -N {word} -f {cipher}" for cipher in _CIPHERS}
        | {"rounds": f"ssh-keygen -q -t ed25519 -a 40 -N {word} -f rounds"}
        | {
            name: f"openssl pkcs8 -topk8 -in pem-rsa -out {name} -passout pass:{word} {how}"
            for name, how in _PKCS8.items()
        }
        | {
            f"pem-{cipher}": f"openssl rsa -traditional -in pem-rsa -out pem-{cipher} -passout pass:{word} -{cipher} {_OLD}"
            for cipher in ("aes256", "aes128", "des", "des3", "des-ede-cbc", "camellia256", "aria256")
        }
        | {"sec1-aes256": f"openssl ec -in sec1 -aes256 -passout pass:{word} -out sec1-aes256"},
    )
    text = (folder / "ed25519-256").read_text()
    for name, changed in {
        "byte-order-mark": f"\ufeff{text}",
        "carriage-returns": text.replace("\n", "\r\n"),
        "indented": "".join(f"    {line}\n" for line in text.splitlines()),
        "text-before": f"Here it is:\n\n{text}",
        "text-after": f"{text}Bye\n",
        "no-newline": text.rstrip(),
        "spaces-at-ends": text.replace("\n", "  \n"),
        "header": (folder / "pem-rsa").read_text().replace("KEY-----\n", "KEY-----\nComment: a\n\n", 1),
        "empty-lines": text.replace("\n", "\n\n"),
        "one-long-line": _unfolded(text),
        "cut": text[:-80],
        "all-in-one-line": text.replace("\n", ""),
        "attributes-before": f"Bag Attributes\n    a: b\n{(folder / 'pem-rsa').read_text()}",
        "two-keys": text + (folder / "pem-rsa").read_text(),
        "nothing": "",
        "rsa-damaged-d": _with_another((folder / "pem-rsa").read_text(), 3),
        "rsa-damaged-p": _with_another((folder / "pem-rsa").read_text(), 4),
    }.items():
        (folder / name).write_bytes(changed.encode())
        made[name] = None
    for name in made:
        (folder / name).chmod(0o600)
    return made


def _unfolded(text: str) -> str:
    first, *body, last = text.splitlines()
    return f"{first}\n{''.join(body)}\n{last}\n"


def _with_another(pem: str, place: int) -> str:
    """A PKCS#1 key, with two added to one of its numbers."""
    numbers: list[int] = list(der_decode(body_of(pem)))
    numbers[place] += 2
    return armoured("RSA PRIVATE KEY", der_encode(tuple(numbers)))


def body_of(text: str) -> bytes:
    return base64.b64decode("".join(line for line in text.splitlines() if "-----" not in line))


def as_ssh(file: Path, passphrase: str | None) -> str | None:
    """The public half, as ssh-keygen reads it."""
    command = ["ssh-keygen", "-y", "-P", passphrase or "", "-f", str(file)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return " ".join(done.stdout.split()[:2]) if done.returncode == 0 else None


async def test_what_is_accepted_logs_in_and_what_is_refused_ssh_refuses(
    tmp_path: Path, pool, endpoint, sshd
) -> None:
    if shutil.which("puttygen") is None:
        pytest.skip("NOT RUN, forms of private keys: puttygen is missing (Debian: apt install putty-tools)")
    made = forms(tmp_path)
    assert len(made) >= 60
    by_ssh = {name: as_ssh(tmp_path / name, passphrase) for name, passphrase in made.items()}
    accepted, before = {}, sshd.authorized_keys.read_text()
    for name, passphrase in made.items():
        text = (tmp_path / name).read_bytes().decode()
        try:
            accepted[name] = check_private_key(text, passphrase)
        except InvalidInput as error:
            assert [problem.field for problem in error.fields] == ["private_key"], name
            continue
        assert by_ssh[name] in (None, accepted[name]), name
        if passphrase:
            assert check_private_key(text, None) is None, name
            with pytest.raises(InvalidInput) as caught:
                check_private_key(text, "wrong")
            assert [problem.field for problem in caught.value.fields] == ["passphrase"], name
    assert {name for name in accepted if by_ssh[name] is None} == set(TAKEN_BY_US_ALONE)
    assert {name for name in made if by_ssh[name] and name not in accepted} == set(TAKEN_BY_SSH_ALONE)
    documented = DOCUMENTATION.read_text()
    for words in (TAKEN_BY_US_ALONE | TAKEN_BY_SSH_ALONE).values():
        assert words in documented
    try:
        sshd.authorized_keys.write_text("".join(f"{line}\n" for line in accepted.values()))
        for name in accepted:
            key = KeyAuth((tmp_path / name).read_bytes().decode(), made[name])
            running = await begin(
                pool, endpoint(auth=key), Command("true"), marker=marker(), timeouts=Timeouts()
            )
            assert [event async for event in running] == [Exit(0, None, False)], name
            await running.aclose()
    finally:
        sshd.authorized_keys.write_text(before)


def armoured(label: str, body: bytes) -> str:
    return f"-----BEGIN {label}-----\n{base64.b64encode(body).decode()}\n-----END {label}-----\n"


def _der(*parts: bytes, tag: int = 0x30) -> bytes:
    body = b"".join(parts)
    return bytes([tag, 0x82]) + len(body).to_bytes(2, "big") + body


def _number(value: int) -> bytes:
    return _der(value.to_bytes(value.bit_length() // 8 + 1, "big"), tag=2)


def _name(dotted: str) -> bytes:
    first, second, *others = map(int, dotted.split("."))
    encoded = bytes([first * 40 + second])
    for number in others:
        part = [number & 127]
        while number := number >> 7:
            part.insert(0, number & 127 | 128)
        encoded += bytes(part)
    return _der(encoded, tag=6)


def _pkcs8(kdf: str, *numbers: int) -> str:
    derived = _der(_name(kdf), _der(_der(b"saltsalt", tag=4), *map(_number, numbers)))
    cipher = _der(_name("2.16.840.1.101.3.4.1.42"), _der(b"i" * 16, tag=4))
    algorithm = _der(_name("1.2.840.113549.1.5.13"), _der(derived, cipher))
    return armoured("ENCRYPTED PRIVATE KEY", _der(algorithm, _der(b"x" * 64, tag=4)))


def strings(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _openssh(rounds: int) -> str:
    options = strings(b"s" * 16) + rounds.to_bytes(4, "big")
    head = b"openssh-key-v1\0" + strings(b"aes256-ctr", b"bcrypt", options)
    return armoured("OPENSSH PRIVATE KEY", head + (1).to_bytes(4, "big") + strings(b"p" * 51, b"x" * 160))


@pytest.mark.parametrize(
    "text",
    [
        _openssh(2**32 - 1),
        _pkcs8("1.2.840.113549.1.5.12", 2**31 - 1),
        _pkcs8("1.3.6.1.4.1.11591.4.11", 2**30, 8, 1),
        _pkcs8("1.3.6.1.4.1.11591.4.11", 16384, 8, 2**20),
    ],
    ids=["bcrypt", "PBKDF2", "scrypt's memory", "scrypt's time"],
)
def test_a_passphrase_that_would_cost_hours_is_not_tried(text: str) -> None:
    with pytest.raises(private_keys.Unreadable, match="takes too long"):
        private_keys.read(text, "x")


def test_a_header_hides_no_other_key() -> None:
    """What a library passes over must not be what the cost was looked for in."""
    begin, cheap, end = _openssh(1).splitlines()
    dear = _openssh(2**32 - 1).splitlines()[1]
    with pytest.raises(private_keys.Unreadable, match="damaged"):
        private_keys.read("\n".join((begin, f"{cheap.rstrip('=')}: ", dear, end)), "x")
    # A block before another is the key, or there is none.
    other = begin.replace("OPENSSH", "OTHER"), "AAAA", end.replace("OPENSSH", "OTHER")
    with pytest.raises(private_keys.Unreadable, match="damaged"):
        private_keys.read("\n".join((*other, begin, dear, end)), "x")


@pytest.mark.parametrize("label", ["ENCRYPTED PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY"])
def test_a_nesting_without_end(label: str) -> None:
    nested = b""
    while len(nested) < 40_000:
        nested = _der(nested)
    with pytest.raises(private_keys.Unreadable):
        private_keys.read(armoured(label, nested), "x")


@pytest.mark.parametrize("break_at", range(0, 300, 7))
def test_whatever_is_broken_it_is_told(plain: Callable[[], bytes], break_at: int) -> None:
    raw = bytearray(plain())
    raw[break_at % len(raw)] ^= 0xFF
    with suppress(private_keys.Unreadable):
        private_keys.read(armoured("RSA PRIVATE KEY", bytes(raw)), None)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], bytes]:
    file = tmp_path_factory.mktemp("plain") / "rsa"
    command = ["openssl", "genrsa", "-traditional", "-out", str(file), "1024"]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": os.environ["PATH"]})
    return lambda: body_of(file.read_text())
