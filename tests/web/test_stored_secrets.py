"""A stored secret stays only where a key that was trusted before stays in force: by whatever door a platform is changed,
it goes to no stranger, and the audit log says what became what."""

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import forkserver
from tests.support.application import Application
from tests.support.device import Stranger
from tests.support.proxy import Proxies
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.tools import make_key, unique
from tests.support.waiting import until
from testum.dispatch.local import LocalDispatcher
from testum.services import platform_fields, platforms
from testum.services.platforms import Platforms

ELSEWHERE = "127.0.1.99"
FIELDS = ["host", "port", "username", "jump_platform_id", "zone", "host_key_policy"]
TRUST = ["stays", "is forgotten", "was forgotten", "never was", "is another"]


@pytest.fixture
def stranger(real_sshd: RealSshd) -> Iterator[Stranger]:
    """At another address and the host's own port."""
    made = Stranger(ELSEWHERE, real_sshd.port)
    yield made
    made.close()


def by_api(api: Api, platform: Any, values: dict[str, Any]) -> int:
    return int(api.http.patch(f"/platforms/{platform['id']}", json=values).status_code)


def by_page(api: Api, platform: Any, values: dict[str, Any]) -> int:
    """The form sends all of its fields."""
    form = {name: platform[name] for name in ("name", "host", "port", "username", "zone", "host_key_policy")}
    form |= {"login": "password", "known_host_key": "".join(platform["known_host_keys"][:1]), **values}
    form = {name: value for name, value in form.items() if value is not None}
    if values.get("jump_platform_id"):
        form["jump"] = api.get(f"/platforms/{form.pop('jump_platform_id')}")["name"]
    answer = api.http.post(
        f"{api.url}/platforms/{platform['id']}/edit", data=form, headers={"Origin": api.url}
    )
    return 200 if answer.status_code == 303 else int(answer.status_code)


def by_import(api: Api, platform: Any, values: dict[str, Any]) -> int:
    row = {name: platform[name] for name in ("name", "host", "port", "username")} | values
    text = ",".join(row) + "\n" + ",".join(map(str, row.values()))
    form = {"text": text, "format": "csv", "really": "1", "update": "1"}
    api.http.post(f"{api.url}/platforms/import", data=form, headers={"Origin": api.url})
    now = api.get(f"/platforms/{platform['id']}")
    return 200 if values.items() <= now.items() else 422


def by_command_line(api: Api, platform: Any, values: dict[str, Any]) -> int:
    options = {
        "host": "--host", "port": "--port", "username": "--username", "zone": "--zone", "jump_platform_id": "--jump",
    }  # fmt: skip
    typed = values.get("password")
    named = [(options[name], str(value)) for name, value in values.items() if name in options]
    done = forkserver.run_text(
        "platforms",
        "edit",
        platform["id"],
        *itertools.chain.from_iterable(named),
        *(["--password-stdin"] if typed else []),
        env={
            **os.environ,
            "TESTUM_URL": api.url,
            "TESTUM_TOKEN": api.http.headers["Authorization"].removeprefix("Bearer "),
        },
        stdin=typed or "",
    )
    return 200 if done.returncode == 0 else 422


@pytest.fixture
def elsewhere(api: Api, real_sshd: RealSshd, stranger: Stranger) -> Callable[[str], dict[str, Any]]:
    """The change of a field after which another machine, or another account, may be at the other end."""

    def make(field: str) -> dict[str, Any]:
        values = {
            "host": ELSEWHERE,
            "port": 1,
            "username": "somebody",
            "zone": "elsewhere",
            "host_key_policy": None,
        }
        if field == "jump_platform_id":
            return {field: api.add_platform(unique(), real_sshd, host=ELSEWHERE)["id"]}
        return {field: values[field]}

    return make


def newest(api: Api, platform: Any) -> Any:
    return api.get("/audit/", action="platform.update", object_id=platform["id"])[0]


@pytest.mark.parametrize("trust", TRUST)
@pytest.mark.parametrize("field", FIELDS)
def test_from_the_api(
    api: Api,
    real_sshd: RealSshd,
    stranger: Stranger,
    elsewhere: Callable[[str], dict[str, Any]],
    field: str,
    trust: str,
) -> None:
    made: dict[str, Any] = {"host_key_policy": "strict"} if field == "host_key_policy" else {}
    if trust != "never was":
        made["known_host_key"] = real_sshd.host_key_line
    platform = api.add_platform(unique(), real_sshd, **made)
    if trust == "was forgotten":
        assert by_api(api, platform, {"known_host_key": None, "password": real_sshd.user.password}) == 200
    values = elsewhere(field)
    also = {
        "is forgotten": {"known_host_key": None},
        "is another": {"known_host_key": stranger.host_key_line},
    }
    stays = trust == "stays"
    assert by_api(api, platform, {**values, **also.get(trust, {})}) == (200 if stays else 422)
    entry = newest(api, platform)
    assert entry["outcome"] == ("allowed" if stays else "refused")
    assert entry["meta"]["changes"][field] == {"old": platform[field], "new": values[field]}
    if trust == "is another":
        assert entry["meta"]["changes"]["known_host_key"]["old"] == [platform["known_host_fingerprint"]]
    assert api.get(f"/platforms/{platform['id']}")[field] == (values if stays else platform)[field]
    if field in ("host", "username"):
        task = api.run("echo hello", targets={"platform_ids": [platform["id"]]})
        ends = {"host": "host_key_changed", "username": "auth_failed"}
        assert task["error_code"] == (ends[field] if stays else None), task
    assert stranger.heard == []


DOORS: dict[Callable[[Api, Any, dict[str, Any]], int], list[str]] = {
    by_page: FIELDS,
    by_import: ["host", "port", "username"],
    by_command_line: [field for field in FIELDS if field != "host_key_policy"],
}
"""Each with the fields that it can change."""


@pytest.mark.parametrize("trust", ["stays", "is forgotten", "never was"])
@pytest.mark.parametrize(
    ("door", "field"),
    [
        pytest.param(door, field, id=f"{door.__name__}-{field}")
        for door, fields in DOORS.items()
        for field in fields
    ],
)
def test_from_other_doors(
    api: Api,
    real_sshd: RealSshd,
    stranger: Stranger,
    elsewhere: Callable[[str], dict[str, Any]],
    door: Callable[[Api, Any, dict[str, Any]], int],
    field: str,
    trust: str,
) -> None:
    made: dict[str, Any] = {"host_key_policy": "strict"} if field == "host_key_policy" else {}
    if trust != "never was":
        made["known_host_key"] = real_sshd.host_key_line
    platform = api.add_platform(unique(), real_sshd, **made)
    values = elsewhere(field)
    if trust == "is forgotten":
        if door is not by_page:
            # The others change no trusted key: it was forgotten before.
            assert by_api(api, platform, {"known_host_key": None, "password": real_sshd.user.password}) == 200
        else:
            values["known_host_key"] = None
    assert door(api, platform, values) == (200 if trust == "stays" else 422)
    # Of refusals not more are written down one by one than forty a minute.
    if trust == "stays":
        entry = newest(api, platform)
        assert entry["outcome"] == "allowed"
        assert entry["meta"]["changes"][field]["old"] == platform[field]
    if field in ("host", "username"):
        api.run("echo hello", targets={"platform_ids": [platform["id"]]})
    assert stranger.heard == []


def test_the_audit_log_tells_of_refused_changes(real_sshd: RealSshd) -> None:
    with Server() as own:
        api = own.client()
        for door in (by_api, *DOORS):
            platform = api.add_platform(unique(), real_sshd)
            assert door(api, platform, {"host": ELSEWHERE}) == 422
            entry = newest(api, platform)
            assert entry["outcome"] == "refused" and entry["meta"]["reason"] == "secret_would_leave"
            assert entry["meta"]["changes"]["host"] == {"old": platform["host"], "new": ELSEWHERE}


@pytest.mark.parametrize("door", DOORS)
def test_what_is_typed_goes_where_it_is_said_to(
    api: Api, real_sshd: RealSshd, stranger: Stranger, door: Callable[[Api, Any, dict[str, Any]], int]
) -> None:
    platform = api.add_platform(unique(), real_sshd)
    door(api, platform, {"host": ELSEWHERE, "password": "typed"})
    api.run("echo hello", targets={"platform_ids": [platform["id"]]})
    assert "typed" in stranger.heard and real_sshd.user.password not in stranger.heard


@pytest.mark.parametrize("trust", ["stays", "never was"])
@pytest.mark.parametrize("field", FIELDS)
def test_a_private_key_stays_as_a_password_does(
    api: Api,
    real_sshd: RealSshd,
    stranger: Stranger,
    elsewhere: Callable[[str], dict[str, Any]],
    tmp_path: Path,
    field: str,
    trust: str,
) -> None:
    made: dict[str, Any] = {"host_key_policy": "strict"} if field == "host_key_policy" else {}
    if trust == "stays":
        made["known_host_key"] = real_sshd.host_key_line
    private, _ = make_key(tmp_path)
    platform = api.add_platform(
        unique(), real_sshd, auth_method="private_key", private_key=private, password=None, **made
    )
    assert by_api(api, platform, elsewhere(field)) == (200 if trust == "stays" else 422)
    assert stranger.heard == []


def test_a_new_host_key_alone(api: Api, real_sshd: RealSshd, stranger: Stranger, tmp_path: Path) -> None:
    """Whoever trusts another key types the password again; a private key is never sent, and may stay."""
    private, public = make_key(tmp_path)
    real_sshd.add_key(public)
    known = {"known_host_key": real_sshd.host_key_line}
    other = {"known_host_key": stranger.host_key_line}
    platform = api.add_platform(unique(), real_sshd, **known)
    for values in (other, {"known_host_key": None}):
        assert by_api(api, platform, values) == 422
    assert by_api(api, platform, {**other, "password": "typed"}) == 200
    entry = newest(api, platform)
    fingerprint = api.get(f"/platforms/{platform['id']}")["known_host_fingerprint"]
    assert entry["meta"]["changes"] == {
        "password": "changed",
        "known_host_key": {"old": [platform["known_host_fingerprint"]], "new": [fingerprint]},
    }
    by_key = {"auth_method": "private_key", "private_key": private}
    assert by_api(api, api.add_platform(unique(), real_sshd, **known, **by_key), other) == 200


def test_a_secret_that_is_not_used_does_not_wait_for_its_chance(
    api: Api, real_sshd: RealSshd, stranger: Stranger, tmp_path: Path
) -> None:
    private, public = make_key(tmp_path)
    kept = api.post("/keys/", {"name": unique("k"), "public_key": public, "private_key": private})
    platform = api.add_platform(unique(), real_sshd)
    assert by_api(api, platform, {"auth_method": "private_key", "key_id": kept["id"]}) == 200
    assert by_api(api, platform, {"host": ELSEWHERE}) == 200
    assert newest(api, platform)["meta"]["changes"]["password"] == "removed"
    assert by_api(api, platform, {"auth_method": "password"}) == 422
    assert not api.get(f"/platforms/{platform['id']}")["has_password"]


def test_who_is_reached_through_it_keeps_its_secret(
    api: Api, real_sshd: RealSshd, stranger: Stranger, tmp_path: Path
) -> None:
    """A jump host that is moved leads those behind it elsewhere, too."""
    private, public = make_key(tmp_path)
    kept = api.post("/keys/", {"name": unique("k"), "public_key": public, "private_key": private})
    by_key = {"auth_method": "private_key", "key_id": kept["id"]}
    jump = api.add_platform(unique(), real_sshd, **by_key)
    between = api.add_platform(unique(), real_sshd, **by_key, jump_platform_id=jump["id"])
    behind = api.add_platform(unique("behind"), real_sshd, jump_platform_id=between["id"])
    answer = api.http.patch(f"/platforms/{jump['id']}", json={"host": ELSEWHERE})
    assert answer.status_code == 422 and behind["name"] in answer.json()["detail"]
    known = {"known_host_key": real_sshd.host_key_line, "password": real_sshd.user.password}
    assert by_api(api, behind, known) == 200
    assert by_api(api, jump, {"host": ELSEWHERE}) == 200


def test_a_key_that_was_only_named_protects_nothing(
    api: Api, real_sshd: RealSshd, stranger: Stranger, tmp_path: Path
) -> None:
    """Neither the platform's own secret nor that of one behind it: the next change would take it for a proven one."""
    private, public = make_key(tmp_path)
    kept = api.post("/keys/", {"name": unique("k"), "public_key": public, "private_key": private})
    named = {"known_host_key": stranger.host_key_line}
    platform = api.add_platform(unique(), real_sshd)
    assert by_api(api, platform, named) == 422
    assert by_api(api, platform, {"auth_method": "private_key", "key_id": kept["id"]}) == 200
    assert by_api(api, platform, named) == 200
    assert newest(api, platform)["meta"]["changes"]["password"] == "removed"
    jump = api.add_platform(unique(), real_sshd, auth_method="private_key", key_id=kept["id"])
    behind = api.add_platform(unique(), real_sshd, jump_platform_id=jump["id"])
    assert by_api(api, behind, named) == by_api(api, jump, named) == 422
    early = api.add_platform(unique(), real_sshd, auth_method="private_key", key_id=kept["id"], **named)
    api.add_platform(unique(), real_sshd, jump_platform_id=early["id"])
    assert by_api(api, early, {"host": ELSEWHERE}) == 422
    assert by_api(api, platform, {**named, "auth_method": "password", "password": "typed"}) == 200
    assert by_api(api, platform, {"host": ELSEWHERE}) == 200
    api.run("echo hello", targets={"platform_ids": [platform["id"]]})
    assert "typed" in stranger.heard and real_sshd.user.password not in stranger.heard


def test_a_key_that_another_host_showed_is_not_trusted(api: Api, real_sshd: RealSshd) -> None:
    """A first connection answers slowly, and the platform is led elsewhere meanwhile."""
    with closing(RealSshd()) as other, closing(Proxies()) as proxies:
        way = proxies.add(other.port)
        platform = api.add_platform(unique(), real_sshd, port=way.port, password="of the other")
        way.hold()
        job = api.start_job("true", targets={"platform_ids": [platform["id"]]})
        until(lambda: way.holding)
        right = {"port": real_sshd.port, "password": real_sshd.user.password}
        assert by_api(api, platform, right) == 200
        way.release()
        api.wait_job(job)
        assert api.get(f"/platforms/{platform['id']}")["known_host_keys"] == []
        assert api.run("true", targets={"platform_ids": [platform["id"]]})["status"] == "success"
        assert api.get(f"/platforms/{platform['id']}")["known_host_keys"] == [real_sshd.host_key_line]


def test_a_key_that_was_shown_through_another_jump_host_is_not_trusted(
    api: Api, real_sshd: RealSshd, tmp_path: Path
) -> None:
    """The jump host is led elsewhere while a first connection over it is on its way."""
    private, public = make_key(tmp_path)
    kept = api.post("/keys/", {"name": unique("k"), "public_key": public, "private_key": private})
    by_key = {"auth_method": "private_key", "key_id": kept["id"], "password": None}
    real_sshd.add_key(public)
    with closing(RealSshd()) as other, closing(Proxies()) as proxies:
        other.add_key(public)
        way = proxies.add(other.port)
        jump = api.add_platform(unique(), other, port=way.port, **by_key)
        behind = api.add_platform(unique(), real_sshd, jump_platform_id=jump["id"], **by_key)
        way.hold()
        job = api.start_job("true", targets={"platform_ids": [behind["id"]]})
        until(lambda: way.holding)
        assert by_api(api, jump, {"port": other.port}) == 200
        way.release()
        api.wait_job(job)
        for platform in (jump, behind):
            assert api.get(f"/platforms/{platform['id']}")["known_host_keys"] == []
        assert api.run("true", targets={"platform_ids": [behind["id"]]})["status"] == "success"
        assert api.get(f"/platforms/{behind['id']}")["known_host_keys"] == [real_sshd.host_key_line]


def test_the_key_of_an_alarm_is_accepted_where_the_host_showed_it(
    api: Api, real_sshd: RealSshd, stranger: Stranger
) -> None:
    """Not once the platform is another again, or what it was before."""
    platform = api.add_platform(unique(), real_sshd, known_host_key=real_sshd.host_key_line)
    assert by_api(api, platform, {"host": ELSEWHERE}) == 200
    job: dict[str, Any] = {"targets": {"platform_ids": [platform["id"]]}}
    assert api.run("true", **job)["error_code"] == "host_key_changed"
    (alarm,) = api.get("/audit/", action="host_key.changed", object_id=platform["id"])
    assert by_api(api, platform, {"host": platform["host"]}) == 200
    answer = api.http.post(
        f"{api.url}/platforms/{platform['id']}/accept-host-key",
        data={"fingerprint": alarm["meta"]["presented"], "password": real_sshd.user.password},
        headers={"Origin": api.url},
    )
    assert answer.status_code == 409
    assert api.get(f"/platforms/{platform['id']}")["known_host_keys"] == [real_sshd.host_key_line]
    assert api.run("true", **job)["status"] == "success"


@pytest.mark.embedded
@pytest.mark.parametrize("moment", ["before it is noted", "before it is sent"])
def test_a_jump_host_that_is_led_elsewhere_amid_a_test(
    real_sshd: RealSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The one behind it has no secret by then, so that nothing is in the way; the test has brought it along."""
    private, public = make_key(tmp_path)
    with Application() as own, closing(Stranger(ELSEWHERE, real_sshd.port)) as stranger:
        api = own.client()
        kept = api.post("/keys/", {"name": unique("k"), "public_key": public, "private_key": private})
        by_key = {"auth_method": "private_key", "key_id": kept["id"]}
        jump = api.add_platform(unique(), real_sshd, **by_key, password=None)
        behind = api.add_platform(unique(), real_sshd, jump_platform_id=jump["id"])
        told: list[int] = []

        def lead_elsewhere() -> None:
            told.append(by_api(api, behind, {**by_key, "password": None}))
            told.append(by_api(api, jump, {"host": ELSEWHERE}))

        of, name = (Platforms, "draft") if moment == "before it is noted" else (LocalDispatcher, "ask")
        as_ever = getattr(of, name)

        async def late(*given: Any, **options: Any) -> Any:
            if of is LocalDispatcher:
                await asyncio.to_thread(lead_elsewhere)
                return await as_ever(*given, **options)
            made = await as_ever(*given, **options)
            await asyncio.to_thread(lead_elsewhere)
            return made

        monkeypatch.setattr(of, name, late)
        answer = api.http.post(f"/platforms/{behind['id']}/test", json={})
        assert told == [200, 200]
        if moment == "before it is noted":
            assert (answer.status_code, answer.json()["code"]) == (409, "changed_meanwhile")
        else:
            assert answer.json()["error_code"] == "changed_meanwhile"
        assert stranger.heard == []


@pytest.mark.embedded
def test_a_secret_that_is_typed_while_it_is_led_elsewhere(
    real_sshd: RealSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One forgets the key and brings a password for the host that was there; the other leads it elsewhere meanwhile."""
    with Application() as own:
        api = own.client()
        platform = api.add_platform(unique(), real_sshd, known_host_key=real_sshd.host_key_line)
        meanwhile: list[int] = []

        async def set_fields(*given: Any, **options: Any) -> Any:
            found = await platform_fields.set_fields(*given, **options)
            if "password" in given[2] and not meanwhile:
                meanwhile.append(await asyncio.to_thread(by_api, api, platform, {"host": ELSEWHERE}))
            return found

        monkeypatch.setattr(platforms, "set_fields", set_fields)
        typed = {"known_host_key": None, "password": real_sshd.user.password}
        answer = api.http.patch(f"/platforms/{platform['id']}", json=typed)
        assert meanwhile == [200]
        assert (answer.status_code, answer.json()["code"]) == (409, "changed_meanwhile")
        assert api.get(f"/platforms/{platform['id']}")["known_host_keys"] == [real_sshd.host_key_line]


@pytest.mark.embedded
def test_the_audit_log_tells_of_tests(real_sshd: RealSshd) -> None:
    """What was tried in another way than it is stored, also of those that were refused."""
    with Application() as own:
        api = own.client()
        platform = api.add_platform(unique(), real_sshd)
        for values, code in (({"host": ELSEWHERE}, 422), ({"host": ELSEWHERE, "password": "typed"}, 200)):
            answer = api.http.post(f"/platforms/{platform['id']}/test", json=values)
            assert answer.status_code == code
            entry = api.get("/audit/", action="platform.test", object_id=platform["id"])[0]
            assert entry["outcome"] == ("allowed" if code == 200 else "refused")
            assert entry["meta"]["changes"]["host"] == {"old": platform["host"], "new": ELSEWHERE}
            assert "typed" not in str(entry)
