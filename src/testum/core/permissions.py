"""Who may do what: roles, permissions, one check.

The services call `require` before they do anything; a route cannot forget it, because a route has no
other way to the data.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from testum.errors import Forbidden


class Role(StrEnum):
    """What an account is: a viewer looks, an operator runs things, an admin may do everything."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_RANKS = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Permission:
    """One thing that can be allowed, named `object:verb`, to accounts of this role and of those above it."""

    name: str
    role: Role

    def __str__(self) -> str:
        return self.name

    def is_of(self, role: Role) -> bool:
        """Whether accounts of this role have it."""
        return _RANKS[role] >= _RANKS[self.role]


ACCOUNT = Permission("account:own", Role.VIEWER)
PLATFORMS_READ = Permission("platforms:read", Role.VIEWER)
PLATFORMS_WRITE = Permission("platforms:write", Role.ADMIN)
KEYS_READ = Permission("keys:read", Role.VIEWER)
KEYS_WRITE = Permission("keys:write", Role.ADMIN)
KEYS_DEPLOY = Permission("keys:deploy", Role.ADMIN)
"""Deploying keys gives others access to hosts, so that it is not an operator's to do."""
JOBS_READ = Permission("jobs:read", Role.VIEWER)
JOBS_RUN = Permission("jobs:run", Role.OPERATOR)
JOBS_CANCEL = Permission("jobs:cancel", Role.OPERATOR)
AUDIT_READ = Permission("audit:read", Role.ADMIN)
SETTINGS_READ = Permission("settings:read", Role.ADMIN)


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
    if actor.must_change_password and permission is not ACCOUNT:
        return False
    return permission.is_of(actor.role)


def changes_something(actor: Actor) -> bool:
    """Whether the actor may do more than look, and see to the own account."""
    return actor.role is not Role.VIEWER and not actor.must_change_password


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
