"""Which programs, with which arguments, look as if what they do could not be undone (see core/danger.py)."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

DISK = re.compile(r"/dev/(?:sd|nvme|vd|xvd|hd|mmcblk|disk|mapper/|md|loop|dm-)")
SYSTEM = re.compile(r"/(?:etc|boot|bin|sbin|lib\w*|usr|var/lib)(?:/|$)")

_Rule = Callable[[Sequence[str]], bool]


def _always(_arguments: Sequence[str]) -> bool:
    return True


def _unless(*harmless: str) -> _Rule:
    """Destructive, unless it only looks or calls off."""
    return lambda arguments: not any(each in arguments for each in harmless)


def _options(arguments: Sequence[str]) -> Iterator[str]:
    """The options: short ones one by one, long ones without what follows `=`."""
    for argument in arguments:
        if argument == "--":
            return
        if argument.startswith("--"):
            yield argument.partition("=")[0]
        elif argument.startswith("-"):
            yield from (f"-{letter}" for letter in argument[1:])


def _option(*wanted: str) -> _Rule:
    return lambda arguments: any(each in wanted for each in _options(arguments))


def _word(*wanted: str) -> _Rule:
    """One of these is among the words that are no options."""
    return lambda arguments: any(each in wanted for each in arguments)


def _verb(*wanted: str, until: str = "") -> _Rule:
    """One of these is among the words before one of `until`, after which come other programs' words."""
    stop = frozenset(until.split())

    def rule(arguments: Sequence[str]) -> bool:
        for argument in arguments:
            if argument in wanted:
                return True
            if argument in stop:
                return False
        return False

    return rule


def _both(one: str, other: str) -> _Rule:
    return lambda arguments: one in arguments and other in arguments


def _any(*rules: _Rule) -> _Rule:
    return lambda arguments: any(rule(arguments) for rule in rules)


def _ip(arguments: Sequence[str]) -> bool:
    """`ip link set eth0 down`, and what deletes or flushes; objects and verbs may be shortened."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    verb = words[1] if len(words) > 1 else ""
    downs = "down" in words[2:] and len(verb) > 0 and "set".startswith(verb)
    return downs or verb in ("del", "delete", "d", "flush", "f")


def _to_disk(arguments: Sequence[str]) -> bool:
    return any(DISK.match(argument) for argument in arguments)


def _moves_system(arguments: Sequence[str]) -> bool:
    """What is moved away, not where to."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    return any(SYSTEM.match(word) for word in words[:-1])


def _dd(arguments: Sequence[str]) -> bool:
    return any(each.startswith("of=") and each != "of=/dev/null" for each in arguments)


def _kill(arguments: Sequence[str]) -> bool:
    """All processes (-1), or the first one."""
    return any(each in ("-1", "1") for each in arguments[1:])


def _empties(arguments: Sequence[str]) -> bool:
    return bool(re.search(r"(?:-s|--size)[ =]?0", " ".join(arguments)))


_PACKAGES = _word("remove", "purge", "autoremove", "autopurge", "erase", "del", "uninstall")
_DOCKER = _verb(
    "rm", "rmi", "prune", "kill", "stop", "down", "remove",
    until="run exec create build logs inspect search pull push tag cp history top port attach",
)  # fmt: skip
_TABLES = _option("-F", "-X", "--flush", "--delete-chain", "-P", "--policy")

RULES: Mapping[str, _Rule] = {
    ">": _always,
    **dict.fromkeys(("rm", "unlink", "rmdir"), _unless("--help", "--version")),
    "dd": _dd,
    **dict.fromkeys(("cp", "tee", "ddrescue"), _to_disk),
    "mv": _any(_to_disk, _moves_system),
    **dict.fromkeys(("mke2fs", "mkswap", "wipefs", "blkdiscard", "shred", "sgdisk", "lvremove"), _always),
    **dict.fromkeys(("vgremove", "pvremove", "srm", "dropdb", "dropuser"), _always),
    **dict.fromkeys(("fdisk", "sfdisk", "gdisk", "parted"), _unless("-l", "--list", "-d", "print")),
    "cryptsetup": _word("luksFormat", "erase", "luksErase", "luksKillSlot", "luksRemoveKey"),
    "mdadm": _option("--zero-superblock", "--stop", "-S"),
    **dict.fromkeys(("zpool", "zfs"), _word("destroy", "rollback")),
    "btrfs": _word("delete"),
    **dict.fromkeys(("shutdown", "poweroff", "reboot", "halt"), _unless("-c", "--help")),
    **dict.fromkeys(("init", "telinit"), _word("0", "1", "6")),
    "systemctl": _word(
        "stop",
        "disable",
        "mask",
        "poweroff",
        "reboot",
        "halt",
        "kexec",
        "kill",
        "isolate",
        "rescue",
        "emergency",
        "suspend",
        "hibernate",
    ),
    **dict.fromkeys(("service", "rc-service", "invoke-rc.d", "initctl", "supervisorctl"), _word("stop")),
    **dict.fromkeys(("killall", "killall5", "pkill"), _always),
    "kill": _kill,
    **dict.fromkeys(("userdel", "groupdel", "deluser", "delgroup"), _always),
    "passwd": _option("-d", "-l", "--delete", "--lock"),
    **dict.fromkeys(("chmod", "chown", "chgrp"), _option("-R", "--recursive")),
    "ip": _ip,
    "ifconfig": _word("down"),
    **dict.fromkeys(("ifdown", "iptables-restore", "ip6tables-restore"), _always),
    "nmcli": _word("down", "delete", "off", "disconnect"),
    **dict.fromkeys(
        ("iptables", "ip6tables", "iptables-legacy", "iptables-nft", "ebtables", "arptables"), _TABLES
    ),
    "ipset": _word("flush", "destroy"),
    "nft": _word("flush", "delete", "destroy"),
    "ufw": _word("reset", "enable", "disable"),
    "truncate": _empties,
    "rsync": lambda arguments: any(each.startswith(("--delete", "--remove-source")) for each in arguments),
    **dict.fromkeys(
        ("apt", "apt-get", "aptitude", "dnf", "yum", "zypper", "snap", "flatpak", "brew"), _PACKAGES
    ),
    "apk": _word("del"),
    "pacman": _option("-R"),
    "dpkg": _option("-r", "-P", "--remove", "--purge"),
    "rpm": _option("-e", "--erase"),
    **dict.fromkeys(("docker", "podman", "nerdctl", "docker-compose", "podman-compose", "crictl"), _DOCKER),
    **dict.fromkeys(
        ("kubectl", "oc"),
        _any(
            _verb("delete", "drain", until="exec logs get describe apply run scale"),
            lambda arguments: "scale" in arguments and "--replicas=0" in arguments,
        ),
    ),
    "aws": lambda arguments: any(
        each in ("rm", "rb") or each.startswith(("delete-", "terminate-")) for each in arguments
    ),
    "helm": _word("uninstall", "delete", "rollback"),
    "virsh": _word("destroy", "undefine", "shutdown", "reboot"),
    "terraform": _word("destroy"),
    "git": _any(
        lambda arguments: "clean" in arguments and _option("-f", "--force")(arguments),
        _both("reset", "--hard"),
    ),
    "crontab": _option("-r"),
    "mysqladmin": _word("drop", "shutdown"),
    "redis-cli": lambda arguments: any(
        each.lower() in ("flushall", "flushdb", "shutdown") for each in arguments
    ),
}
"""Whether a program with these arguments is destructive. What is not here is not."""
