"""Logging in and out, and what a person does to the own account."""

import datetime as dt
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from limits import parse
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.permissions import ACCOUNT, Actor, Role
from testum.core.secrets import Signer
from testum.db import installation, users
from testum.db.base import new_id, utc_now
from testum.db.session import Database
from testum.db.users import Login, User
from testum.errors import Conflict, InvalidInput, Throttled, Unauthenticated
from testum.services.access import Gate
from testum.services.guesses import Guesses, network_of
from testum.services.passwords import check_password_rules, hash_password, verify_password
from testum.services.throttle import Throttle

_ALGORITHM = "HS256"
_PER_ACCOUNT = parse("10/5minutes")
_MADE_UP = parse("60/5minutes")
"""Refresh tokens that were never issued, from one network."""
_KNOWN_FOR = dt.timedelta(days=30)
"""So long a network is known from which somebody has logged in."""
_MAX_USERNAME = 150


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login gives. Times in seconds."""

    access_token: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    user: User
    device: str = ""
    """After a login, what the device shows from now on to be known."""


class Auth:
    """Accounts prove who they are here, and nowhere else."""

    def __init__(
        self,
        database: Database,
        gate: Gate,
        throttle: Throttle,
        *,
        secret_key: str,
        access_seconds: int,
        refresh_seconds: int,
    ) -> None:
        self._database = database
        self._gate = gate
        self._key = OctKey.import_key(secret_key)
        self._issued = Signer(secret_key, "refresh token")
        self._access_seconds = access_seconds
        self._refresh_seconds = refresh_seconds
        self._attempts = throttle
        self._guesses = Guesses(throttle, secret_key)

    async def ensure_admin(self, username: str, password: str, *, must_change: bool) -> bool:
        """Make the first admin where there is no account yet; whether one was made."""
        password_hash = await hash_password(password)
        async with self._database.write() as session:
            await installation.ensure(session)
            if await users.count(session):
                return False
            admin = User(
                username=username,
                username_key=username.casefold(),
                password_hash=password_hash,
                role=Role.ADMIN,
                must_change_password=must_change,
            )
            session.add(admin)
        return True

    async def has_accounts(self) -> bool:
        """Whether anybody could log in."""
        async with self._database.read() as session:
            return await users.count(session) > 0

    async def has_password(self, username: str, password: str) -> bool:
        """Whether there is an account of this name with this password."""
        async with self._database.read() as session:
            user = await users.by_name(session, username)
        return user is not None and await verify_password(user.password_hash, password)

    async def login(
        self,
        username: str,
        password: str,
        *,
        address: str,
        client: str,
        device: str = "",
        browser: bool = False,
    ) -> Tokens:
        """Prove a name and password. `device`: what an earlier login gave, if anything. `browser`: the refresh token is one
        for `renew`, to be kept in a cookie. Raises Unauthenticated (the same for a wrong name and a wrong password) or
        Throttled."""
        account_key = hashlib.sha256(username.casefold().encode("utf-8", "replace")).hexdigest()
        network = network_of(address)
        async with self._database.read() as session:
            user = await users.by_name(session, username) if "\0" not in username else None
            known = self._guesses.device(user.id, device) if user is not None else ""
            if user is not None and not known:
                before = await users.addresses_of(session, user.id, utc_now() - _KNOWN_FOR)
                known = network if network in map(network_of, before) else ""
        try:
            tried = await self._guesses.admit(account_key, network, known=known)
        except Throttled:
            await self._gate.refused_stranger(username, "auth.login", address=address, reason="throttled")
            raise
        if not await verify_password(user.password_hash if user else None, password) or user is None:
            await self._gate.refused_stranger(
                username, "auth.login", address=address, reason="bad_credentials"
            )
            raise Unauthenticated("The user name or the password is wrong.", code="bad_credentials")
        await self._guesses.right(tried)
        login_id = new_id()
        refresh_token = (_SESSION if browser else "") + self._refresh_token(login_id)
        login = Login(
            id=login_id,
            user_id=user.id,
            refresh_hash=_hash(refresh_token),
            address=address,
            client=client[:200],
            expires_at=utc_now() + dt.timedelta(seconds=self._refresh_seconds),
        )
        async with self._database.write() as session:
            session.add(login)
            self._gate.log(session, _actor(user, login.id, address), "auth.login", "user", user.id)
        kept = device if self._guesses.device(user.id, device) else self._guesses.new_device(user.id)
        return replace(self._tokens(user, login.id, refresh_token), device=kept)

    async def refresh(self, refresh_token: str, *, address: str) -> Tokens:
        """Trade a refresh token for new tokens; it is good once. Used a second time, however long after, it
        was stolen by one side or the other: the whole login ends (RFC 9700, section 4.14.2). Raises
        Unauthenticated, and Throttled for more that were made up than somebody may try."""
        issued = bool(self._issued.verify(refresh_token))
        network = network_of(address)
        if not issued:
            await self._check_made_up(network, "auth.refresh", address)
        tokens, user, stolen = await self._trade(refresh_token, issued, address)
        if tokens is not None:
            return tokens
        if not issued:
            await self._attempts.hit(_MADE_UP, "refresh", network)
        reason = "token_reused" if stolen else "bad_token"
        await self._gate.refused_stranger(user, "auth.refresh", address=address, reason=reason, proven=issued)
        raise _ended()

    async def _check_made_up(self, network: str, action: str, address: str) -> None:
        """Before the database is asked about a token that was never issued. Raises Throttled."""
        if not await self._attempts.test(_MADE_UP, "refresh", network):
            await self._gate.refused_stranger("", action, address=address, reason="throttled")
            raise await self._attempts.refusal(_MADE_UP, "refresh", network)

    async def _trade(self, token: str, issued: bool, address: str) -> tuple[Tokens | None, str, bool]:
        """New tokens, the user's name and whether the token was stolen."""
        named = _login_of(token)
        if named is None:
            return None, "", False
        async with self._database.write() as session:
            # Locked: of many who show the same token at once, one is first.
            login = await session.get(Login, named, with_for_update=True)
            user = await users.get(session, login.user_id) if login is not None else None
            if login is None or user is None:
                return None, "", False
            if login.revoked_at is not None or login.expires_at <= utc_now():
                return None, user.username, False
            if login.refresh_hash != _hash(token):
                # One that was never issued was not stolen: who makes one up must end nobody's login.
                login.revoked_at = utc_now() if issued else None
                return None, user.username, issued
            fresh = self._refresh_token(login.id)
            login.refresh_hash = _hash(fresh)
            login.expires_at = utc_now() + dt.timedelta(seconds=self._refresh_seconds)
            self._gate.log(session, _actor(user, login.id, address), "auth.refresh", "user", user.id)
        return self._tokens(user, login.id, fresh), user.username, False

    async def renew(self, session_token: str, *, address: str) -> Tokens:
        """New access for a browser's login. Its token stays the same: the tabs of a browser share it, and would
        each take the others' for a stolen one; no script can read it, which is what the tokens of `refresh` are
        changed for (RFC 9700, section 4.14). Raises Unauthenticated, and Throttled as `refresh` does."""
        if not session_token:
            # A browser that has not logged in made nothing up.
            raise _ended()
        token = session_token.removeprefix(_SESSION)
        named = _login_of(token) if session_token.startswith(_SESSION) else None
        issued, network = bool(self._issued.verify(token)), network_of(address)
        if not issued:
            await self._check_made_up(network, "auth.renew", address)
        if named is not None:
            async with self._database.write() as session:
                login = await session.get(Login, named)
                user = await users.get(session, login.user_id) if login is not None else None
                if (
                    login is not None
                    and user is not None
                    and login.revoked_at is None
                    and login.expires_at > utc_now()
                    and secrets.compare_digest(login.refresh_hash, _hash(session_token))
                ):
                    login.expires_at = utc_now() + dt.timedelta(seconds=self._refresh_seconds)
                    return self._tokens(user, login.id, session_token)
        if not issued:
            await self._attempts.hit(_MADE_UP, "refresh", network)
        raise _ended()

    async def authenticate(self, access_token: str, *, address: str) -> Actor:
        """Who bears this access token, as the account is now. Raises Unauthenticated."""
        try:
            token = jwt.decode(access_token, self._key, algorithms=[_ALGORITHM])
            claims = token.claims
            _Claims(exp={"essential": True}).validate(claims)
            login_id = UUID(claims["sid"])
        except (JoseError, ValueError, KeyError, TypeError, AttributeError):
            raise Unauthenticated(
                "The access token is not valid or has expired.", code="token_invalid"
            ) from None
        async with self._database.read() as session:
            user = await users.of_login(session, login_id, utc_now())
        if user is None:
            raise _ended()
        return _actor(user, login_id, address)

    async def recheck(self, actor: Actor) -> Actor:
        """The actor as the account is now. Raises Unauthenticated where the login has ended meanwhile."""
        assert actor.session_id is not None, "only logins are rechecked"
        async with self._database.read() as session:
            user = await users.of_login(session, actor.session_id, utc_now())
        if user is None:
            raise _ended()
        return _actor(user, actor.session_id, actor.address)

    async def logout(self, actor: Actor) -> None:
        """End the login that the actor came with; its tokens are void at once."""
        async with self._database.write() as session:
            login = await session.get(Login, actor.session_id)
            if login is not None:
                login.revoked_at = utc_now()
            self._gate.log(session, actor, "auth.logout", "user", actor.id)

    async def change_username(self, actor: Actor, current_password: str, new_username: str) -> User:
        """Give the own account another name. Raises InvalidInput, Conflict."""
        name = new_username.strip()
        if not name or len(name) > _MAX_USERNAME or not name.isprintable():
            raise InvalidInput.field("new_username", f"needs 1 to {_MAX_USERNAME} printable characters.")
        confirmed = await self._confirm(actor, current_password, "auth.change_username")
        try:
            async with self._changing(actor, confirmed, "auth.change_username") as (session, user):
                self._gate.log(
                    session, actor, "auth.change_username", "user", user.id, old=user.username, new=name
                )
                user.username, user.username_key = name, name.casefold()
        except IntegrityError:
            raise Conflict(f"The user name {name} is taken.", code="name_taken") from None
        return user

    async def change_password(self, actor: Actor, current_password: str, new_password: str) -> User:
        """Give the own account another password; all its other logins end. Raises InvalidInput."""
        # Before anything that costs more.
        confirmed = await self._confirm(actor, current_password, "auth.change_password")
        if new_password == current_password:
            raise InvalidInput.field("new_password", "must differ from the current one.")
        await check_password_rules(new_password, "new_password", actor.username)
        password_hash = await hash_password(new_password)
        async with self._changing(actor, confirmed, "auth.change_password") as (session, user):
            user.password_hash = password_hash
            user.must_change_password = False
            await users.revoke_logins(session, user.id, keep=actor.session_id)
            self._gate.log(session, actor, "auth.change_password", "user", user.id)
        return user

    @asynccontextmanager
    async def _changing(
        self, actor: Actor, confirmed: str, action: str
    ) -> AsyncIterator[tuple[AsyncSession, User]]:
        """The transaction that changes the actor's account. Hashing takes time: another login may have changed
        the password meanwhile, or ended this one. Raises Unauthenticated or InvalidInput."""
        assert actor.session_id is not None, "only logins change accounts"
        async with self._database.write() as session:
            await users.lock(session, actor.id)
            user = await users.of_login(session, actor.session_id, utc_now())
            if user is not None and user.password_hash == confirmed:
                yield session, user
                return
        await self._gate.refused(actor, action, "user", actor.id, reason="changed_meanwhile")
        if user is None:
            raise _ended()
        raise InvalidInput("current_password: was changed a moment ago.", code="bad_credentials")

    async def _confirm(self, actor: Actor, password: str, action: str) -> str:
        """The actor knows the account's password; the hash that it fits is returned. Guessing is throttled
        as at the login."""
        await self._gate.check(actor, ACCOUNT, action, "user", actor.id)
        if not await self._attempts.hit(_PER_ACCOUNT, "confirm", str(actor.id)):
            await self._gate.refused(actor, action, "user", actor.id, reason="throttled")
            raise await self._attempts.refusal(_PER_ACCOUNT, "confirm", str(actor.id))
        async with self._database.read() as session:
            user = await users.get(session, actor.id)
        if not await verify_password(user.password_hash if user else None, password) or user is None:
            await self._gate.refused(actor, action, "user", actor.id, reason="bad_credentials")
            raise InvalidInput("current_password: is wrong.", code="bad_credentials")
        await self._attempts.clear(_PER_ACCOUNT, "confirm", str(actor.id))
        return user.password_hash

    async def me(self, actor: Actor) -> User:
        """The actor's own account."""
        async with self._database.read() as session:
            user = await users.get(session, actor.id)
        assert user is not None, "the actor was just authenticated"
        return user

    def _refresh_token(self, login_id: UUID) -> str:
        """A new token. It names its login, so that any token of the line is known when it is seen again, and shows that it
        was made here."""
        return self._issued.sign(f"{login_id.hex}.{secrets.token_urlsafe(32)}")

    def _tokens(self, user: User, login_id: UUID, refresh_token: str) -> Tokens:
        now = int(utc_now().timestamp())
        claims = {"sub": str(user.id), "sid": str(login_id), "iat": now, "exp": now + self._access_seconds}
        access_token = jwt.encode({"alg": _ALGORITHM}, claims, self._key)
        return Tokens(access_token, self._access_seconds, refresh_token, self._refresh_seconds, user)


class _Claims(jwt.JWTClaimsRegistry):
    """What is asked of an access token."""

    def validate_iat(self, value: object) -> None:
        """Nothing: when it was issued is for information (RFC 7519, 4.1.6). Another process's clock may be ahead of this
        one's, and this one's may have been set back since."""


def _ended() -> Unauthenticated:
    return Unauthenticated("This login has ended. Log in again.", code="session_ended")


_SESSION = "session-"
"""What a browser's token begins with, which lasts as long as its login. The hash is of the whole: none can be made of an API client's token."""


def _login_of(refresh_token: str) -> UUID | None:
    """The login that a refresh token names, if it is one."""
    try:
        return UUID(hex=refresh_token.partition(".")[0])
    except ValueError:
        return None


def _hash(token: str) -> str:
    """Tokens are long and random: a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _actor(user: User, login_id: UUID, address: str) -> Actor:
    return Actor(user.id, user.username, Role(user.role), login_id, address, user.must_change_password)
