"""Old SSH algorithms that a platform may allow by name, because its host knows no better ones."""

from collections.abc import Iterable

from testum.errors import InvalidInput

OLD_ALGORITHMS = (
    "diffie-hellman-group-exchange-sha1",
    "diffie-hellman-group1-sha1",
    "aes256-cbc",
    "aes192-cbc",
    "aes128-cbc",
    "3des-cbc",
    "hmac-sha1-96",
    "hmac-md5",
    "hmac-md5-96",
    "ssh-dss",
)
"""By their names in SSH: key exchanges, ciphers, message codes and a type of host key (RFC 8270, RFC 9142, RFC 8758)."""


def check_old_algorithms(names: Iterable[str], field: str = "old_algorithms") -> list[str]:
    """The names, each once, in their usual order. Raises InvalidInput for one that is none of them."""
    given = {name.strip() for name in names} - {""}
    if unknown := sorted(given.difference(OLD_ALGORITHMS)):
        raise InvalidInput.field(
            field, f"there is no old algorithm {unknown[0][:100]}; they are {', '.join(OLD_ALGORITHMS)}."
        )
    return [name for name in OLD_ALGORITHMS if name in given]
