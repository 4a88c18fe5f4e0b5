"""Facts about a host: the question, asked in POSIX sh, and the reading of the answer."""

from typing import Any

FACTS_SCRIPT = r"""
say() { printf '%s=%s\n' "$1" "$2"; }
say hostname "$(uname -n)"
say kernel "$(uname -s)"
say kernel_release "$(uname -r)"
say architecture "$(uname -m)"
if [ -r /etc/os-release ]; then
  say os "$(. /etc/os-release 2>/dev/null; printf '%s' "${PRETTY_NAME:-$NAME}")"
  say os_id "$(. /etc/os-release 2>/dev/null; printf '%s' "$ID")"
  say os_version "$(. /etc/os-release 2>/dev/null; printf '%s' "$VERSION_ID")"
fi
if command -v getconf >/dev/null 2>&1; then say cpus "$(getconf _NPROCESSORS_ONLN 2>/dev/null)"; fi
if [ -r /proc/meminfo ]; then
  while read -r name value unit; do
    case $name in
      MemTotal:) say memory_total_kib "$value" ;;
      MemAvailable:) say memory_available_kib "$value" ;;
    esac
  done </proc/meminfo
fi
if [ -r /proc/uptime ]; then read -r up rest </proc/uptime; say uptime_seconds "${up%%.*}"; fi
if [ -r /proc/loadavg ]; then read -r one rest </proc/loadavg; say load_1m "$one"; fi
df -kP / 2>/dev/null | while read -r device total used free rest; do
  case $total in
    ''|*[!0-9]*) ;;
    *) say disk_total_kib "$total"; say disk_free_kib "$free" ;;
  esac
done
exit 0
"""
"""Uses nothing beyond POSIX; what a host does not know, it leaves out."""

_NUMBERS = frozenset(
    {
        "cpus",
        "memory_total_kib",
        "memory_available_kib",
        "uptime_seconds",
        "disk_total_kib",
        "disk_free_kib",
    }
)
_TEXTS = frozenset({"hostname", "kernel", "kernel_release", "architecture", "os", "os_id", "os_version"})
_MAX_TEXT = 300


def parse_facts(answer: str) -> dict[str, Any]:
    """The facts in the script's answer. The host wrote it: unknown names, unreadable numbers and
    control characters are left out."""
    facts: dict[str, Any] = {}
    for line in answer.splitlines():
        name, _, value = line.partition("=")
        if name in _NUMBERS and value.isascii() and value.isdigit() and len(value) < 19:
            facts[name] = int(value)
        elif name in _TEXTS and value:
            facts[name] = "".join(character for character in value if character.isprintable())[:_MAX_TEXT]
        elif name == "load_1m":
            try:
                facts[name] = float(value)
            except ValueError:
                continue
    return facts
