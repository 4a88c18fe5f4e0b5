"""Commands that look as if they could not be undone. A help against slips, and no protection: it reads words, and a
shell can write the same in a thousand other ways."""

import re

_AT = r"(?:^|[;&|(`\n]|\b(?:sudo|doas|env|nohup|exec|xargs|time)\b[^;&|\n]*?)\s*(?:\S*/)?"
_DESTRUCTIVE = (
    ("rm", _AT + r"rm\s+(?:-[^\s-]*[rRf]|--(?:recursive|force))"),
    ("mkfs", _AT + r"mkfs(?:\.\w+)?\b"),
    ("dd", _AT + r"dd\s[^;&|\n]*\bof="),
    ("wipefs", _AT + r"(?:wipefs|blkdiscard|shred|sgdisk|fdisk|parted)\b"),
    (">", r">\s*/dev/(?:sd|nvme|vd|xvd|hd|mmcblk|disk)"),
    ("shutdown", _AT + r"(?:shutdown|poweroff|reboot|halt)\b"),
    ("init", _AT + r"(?:init|telinit)\s+[06]\b"),
    ("systemctl", _AT + r"systemctl\s+(?:\S+\s+)*?(?:stop|disable|mask|poweroff|reboot|halt|kexec)\b"),
    ("kill", _AT + r"(?:killall|pkill|kill\s+-(?:9|KILL)\s+-1)\b"),
    ("userdel", _AT + r"(?:userdel|groupdel|deluser)\b"),
    ("chmod", _AT + r"(?:chmod|chown|chgrp)\s+(?:\S+\s+)*?-\w*R"),
    ("iptables", _AT + r"(?:iptables|ip6tables)\s+(?:\S+\s+)*?-F\b|" + _AT + r"nft\s+flush\b"),
    ("find -delete", _AT + r"find\s[^;&|\n]*\s-delete\b"),
    ("drop", r"(?i)\b(?:drop\s+(?:database|table|schema)|truncate\s+table)\b"),
    ("truncate", _AT + r"truncate\s+-s\s*0"),
    (
        "apt",
        _AT
        + r"(?:apt|apt-get|dnf|yum|zypper|pacman|apk)\s+(?:\S+\s+)*?(?:remove|purge|autoremove|erase|del|-R\w*)\b",
    ),
    ("docker", _AT + r"(?:docker|podman)\s+(?:\S+\s+)*?(?:rm|rmi|prune|kill|down)\b"),
    ("git", _AT + r"git\s+(?:\S+\s+)*?(?:clean\s+-\w*f|reset\s+--hard)"),
    ("crontab", _AT + r"crontab\s+-r\b"),
    ("lvremove", _AT + r"(?:lvremove|vgremove|pvremove|zpool\s+destroy|zfs\s+destroy)\b"),
)
_PATTERNS = tuple((name, re.compile(pattern)) for name, pattern in _DESTRUCTIVE)
_READ = 20_000


def looks_destructive(command: str) -> str | None:
    """What in the command looks as if it could not be undone; None where nothing does."""
    text = command[:_READ]
    return next((name for name, pattern in _PATTERNS if pattern.search(text)), None)
