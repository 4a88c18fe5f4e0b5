"""All pages there are, for what is asked of each: accessibility, screenshots, permissions."""

from collections.abc import Mapping

PAGES: Mapping[str, str] = {
    "dashboard": "/",
    "platforms": "/platforms",
    "platform": "/platforms/{platform}",
    "platform-new": "/platforms/new",
    "platform-edit": "/platforms/{platform}/edit",
    "import": "/platforms/import",
    "run": "/run?platform={platform}",
    "jobs": "/jobs",
    "job": "/jobs/{job}",
    "task": "/tasks/{task}",
    "keys": "/keys",
    "key": "/keys/{key}",
    "key-new": "/keys/new",
    "audit": "/audit",
    "settings": "/settings",
    "password": "/account/password",
    "search": "/search?q=host",
    "not-found": "/nothing-here",
}
"""Those that need a login, by a short name, with places for ids."""

BARE: Mapping[str, str] = {"login": "/login"}
"""Those that need none."""
