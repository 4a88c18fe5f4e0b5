"""Who may do what: one table of roles and permissions, one check.

The services call `require` before they do anything; a route cannot forget it, because a route has no
other way to the data.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from testum.errors import Forbidden


class Role(StrEnum):
    """What an account is: an admin may do everything, an operator runs things, a viewer looks."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


class Permission(StrEnum):
    """One thing that can be allowed, named `object:verb`."""

    PLATFORMS_READ = "platforms:read"
    PLATFORMS_WRITE = "platforms:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    SELECTIONS_READ = "selections:read"
    SELECTIONS_WRITE = "selections:write"
    JOBS_READ = "jobs:read"
    JOBS_RUN = "jobs:run"
    JOBS_CANCEL = "jobs:cancel"
    KEYS_DEPLOY = "keys:deploy"
    AUDIT_READ = "audit:read"
    SETTINGS_READ = "settings:read"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    ACCOUNT = "account:own"


_VIEWER = frozenset(
    {
        Permission.PLATFORMS_READ,
        Permission.KEYS_READ,
        Permission.SELECTIONS_READ,
        Permission.JOBS_READ,
        Permission.ACCOUNT,
    }
)
_OPERATOR = _VIEWER | {Permission.SELECTIONS_WRITE, Permission.JOBS_RUN, Permission.JOBS_CANCEL}

GRANTS: dict[Role, frozenset[Permission]] = {
    Role.ADMIN: frozenset(Permission),
    Role.OPERATOR: _OPERATOR,
    Role.VIEWER: _VIEWER,
}
"""The table. Deploying keys gives others access to hosts, so that it is not an operator's to do."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks: an account as it is in the database at the time of the request, and from where."""

    id: UUID
    username: str
    role: Role
    session_id: UUID | None = None
    address: str = ""
    must_change_password: bool = False


def allows(actor: Actor, permission: Permission) -> bool:
    """Whether the actor may; for showing or hiding things. To enforce, use `require`.

    An account whose password must be changed first may do nothing but see to its own account.
    """
    if actor.must_change_password and permission is not Permission.ACCOUNT:
        return False
    return permission in GRANTS[actor.role]


def changes_something(actor: Actor) -> bool:
    """Whether the actor may do more than look, and see to the own account."""
    return any(allows(actor, permission) for permission in GRANTS[actor.role] - _VIEWER)


def require(actor: Actor, permission: Permission) -> None:
    """Raise Forbidden unless the actor may."""
    if allows(actor, permission):
        return
    if actor.must_change_password:
        raise Forbidden(
            "Change the password first: this account still has a weak or generated one.",
            code="password_change_required",
        )
    raise Forbidden(f"The role {actor.role} does not allow {permission}.")
