"""Logging in and out over HTTP: tokens, cookie, rotation, throttling, the own account."""

import json
import secrets
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import pytest

from tests.support import forkserver
from tests.support.application import Application
from tests.support.server import ADMIN, Api, Installation, Server
from testum.services import refusals

NAME, PASSWORD = ADMIN


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    with patch.multiple(refusals, OF_ONE=100_000, OF_ALL=100_000), Application() as application:
        yield application


@pytest.fixture(scope="module")
def admin(site: Installation) -> Api:
    return site.client()


@pytest.fixture
def own(site: Installation) -> Api:
    """A fresh account, logged in."""
    return site.account("operator")


@pytest.fixture
def http(site: Installation) -> httpx2.Client:
    """Nobody yet; keeps cookies, as a browser does."""
    return site.nobody("/api/v1")


def login(http: httpx2.Client, name: str, password: str) -> Any:
    return http.post("/auth/login", json={"username": name, "password": password})


def refresh(http: httpx2.Client, token: str) -> Any:
    return http.post("/auth/refresh", json={"refresh_token": token})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def assert_problem(response: Any, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"


def entries(admin: Api, user: str, **wanted: Any) -> list[Any]:
    """The newest first."""
    found: list[Any] = admin.all("/audit/", user=user, **wanted)
    return found


# -- tokens and cookie -------------------------------------------------------------------------------------


def test_what_a_login_gives(http: httpx2.Client, admin: Api, own: Api) -> None:
    answer = login(http, own.username.upper(), own.password)
    body = answer.json()
    assert (answer.status_code, body["token_type"], body["expires_in"]) == (200, "bearer", 900)
    assert body["refresh_expires_in"] == 30 * 86_400
    assert body["user"] == {**own.get("/auth/me")} and body["user"]["role"] == "operator"
    cookie = answer.headers["set-cookie"].lower()
    for part in (
        f"access_token={body['access_token'].lower()}",
        "httponly",
        "samesite=strict",
        "max-age=900",
        "path=/",
    ):
        assert part in cookie
    assert "secure" not in cookie, "this is plain HTTP: the browser would not send it back"
    assert answer.headers["cache-control"] == "no-store"
    assert http.get("/auth/me", headers=bearer(body["access_token"])).status_code == 200
    newest = entries(admin, own.username, action="auth.login")[0]
    assert (newest["outcome"], newest["address"], newest["object_id"]) == (
        "allowed",
        "127.0.0.1",
        body["user"]["id"],
    )


def test_the_cookie_is_secure_where_a_proxy_speaks_tls() -> None:
    with Application(env={"SESSION_COOKIE_SECURE": "true"}) as site:
        answer = login(site.nobody("/api"), NAME, PASSWORD)
        assert "secure" in answer.headers["set-cookie"].lower()


def test_a_wrong_name_and_a_wrong_password_look_the_same(http: httpx2.Client, admin: Api, own: Api) -> None:
    stranger = f"nobody-{secrets.token_hex(4)}"
    wrong, unknown = login(http, own.username, "wrong"), login(http, stranger, "wrong")
    assert_problem(wrong, 401, "bad_credentials")
    assert wrong.json() == unknown.json() and "set-cookie" not in wrong.headers
    for user in (own.username, stranger):
        newest = entries(admin, user, action="auth.login")[0]
        assert (newest["outcome"], newest["meta"]) == ("refused", {"reason": "bad_credentials"})


@pytest.mark.walls
def test_names_that_no_account_has(http: httpx2.Client) -> None:
    for name in ("\0", "admin\0", "' OR 1=1 --", "a" * 200, "\u202eadmin", "İ" * 150):
        assert_problem(login(http, name, PASSWORD), 401, "bad_credentials")


def test_the_cookie_logs_in(http: httpx2.Client, own: Api) -> None:
    assert http.get("/auth/me").status_code == 401
    login(http, own.username, own.password)
    assert http.get("/auth/me").json()["username"] == own.username


CROSS = [
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://127.0.0.1:1"}, {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, {"Content-Type": "Multipart/Form-Data; boundary=x"},
]  # fmt: skip


@pytest.mark.parametrize("headers", CROSS, ids=str)
def test_another_sites_page_cannot_use_the_cookie(
    http: httpx2.Client, admin: Api, own: Api, headers: dict[str, str]
) -> None:
    login(http, own.username, own.password)
    assert_problem(http.post("/auth/logout", headers=headers), 403, "cross_site")
    newest = entries(admin, own.username)[0]
    assert (newest["outcome"], newest["meta"]["reason"]) == ("refused", "cross_site")
    assert http.get("/auth/me").status_code == 200, "the login was not ended"
    token = http.cookies["access_token"]
    http.cookies.clear()
    assert http.post("/auth/logout", headers={**headers, **bearer(token)}).status_code == 200, (
        "a token is no cookie"
    )


def test_our_own_page_can_use_the_cookie(http: httpx2.Client, site: Installation, own: Api) -> None:
    login(http, own.username, own.password)
    headers = {"Origin": site.url, "Sec-Fetch-Site": "same-origin"}
    assert http.post("/auth/logout", headers=headers).status_code == 200


# -- refreshing and logging out ----------------------------------------------------------------------------


def test_a_refresh_token_is_good_once(http: httpx2.Client, admin: Api, own: Api) -> None:
    first = login(http, own.username, own.password).json()
    second = refresh(http, first["refresh_token"]).json()
    third = refresh(http, second["refresh_token"]).json()
    assert len({answer["refresh_token"] for answer in (first, second, third)}) == 3
    assert http.get("/auth/me", headers=bearer(third["access_token"])).status_code == 200
    assert http.cookies["access_token"] == third["access_token"]
    assert len(entries(admin, own.username, action="auth.refresh", outcome="allowed")) == 2


@pytest.mark.walls
def test_a_refresh_token_used_twice_ends_the_login(http: httpx2.Client, admin: Api, own: Api) -> None:
    first = login(http, own.username, own.password).json()
    second = refresh(http, first["refresh_token"]).json()
    assert_problem(refresh(http, first["refresh_token"]), 401, "session_ended")
    assert_problem(refresh(http, second["refresh_token"]), 401, "session_ended")
    for token in (first["access_token"], second["access_token"]):
        assert_problem(http.get("/auth/me", headers=bearer(token)), 401, "session_ended")
    reasons = [
        entry["meta"]["reason"]
        for entry in entries(admin, own.username, action="auth.refresh", outcome="refused")
    ]
    assert reasons == ["bad_token", "token_reused"]
    own.get("/auth/me")


@pytest.mark.walls
def test_an_old_refresh_token_ends_the_login_however_late(http: httpx2.Client, own: Api) -> None:
    first = login(http, own.username, own.password).json()
    last = refresh(http, refresh(http, first["refresh_token"]).json()["refresh_token"]).json()
    assert_problem(refresh(http, first["refresh_token"]), 401, "session_ended")
    assert_problem(refresh(http, last["refresh_token"]), 401, "session_ended")


@pytest.mark.walls
def test_of_many_who_refresh_at_once_one_wins(http: httpx2.Client, own: Api) -> None:
    token = login(http, own.username, own.password).json()["refresh_token"]
    with ThreadPoolExecutor(8) as people:
        codes = sorted(people.map(lambda _: refresh(own.http, token).status_code, range(8)))
    assert codes == [200] + [401] * 7


def test_a_client_that_is_no_browser_may_use_the_cookie(http: httpx2.Client, own: Api) -> None:
    """It sends neither Origin nor Sec-Fetch-Site, and no form does without."""
    login(http, own.username, own.password)
    name = f"renamed-{secrets.token_hex(4)}"
    body = {"current_password": own.password, "new_username": name}
    changed = http.post("/auth/change-username", json=body).json()
    assert (changed["username"], changed["message"]) == (name, "The user name was changed.")
    assert http.get("/auth/me").json()["username"] == name
    assert http.post("/auth/logout").status_code == 200
    assert http.get("/auth/me").status_code == 401


def test_a_link_logs_out(http: httpx2.Client, own: Api) -> None:
    token = own.tokens["access_token"]
    # The second time there is no login any more.
    for _ in range(2):
        left = http.get("/auth/logout", headers={"Cookie": f"access_token={token}"})
        assert (left.status_code, left.headers["location"]) == (302, "/login")
        assert http.get("/auth/me", headers=bearer(token)).status_code == 401


def test_a_one_time_code_is_not_taken_and_left_unused(http: httpx2.Client, own: Api) -> None:
    body = {"username": own.username, "password": own.password, "otp": "123456"}
    assert_problem(http.post("/auth/login", json=body), 422, "invalid")


def test_a_made_up_refresh_token_ends_nobodys_login(http: httpx2.Client, admin: Api, own: Api) -> None:
    """The login's id is no secret."""
    token, other = own.tokens["refresh_token"], admin.tokens["refresh_token"].split(".")
    named, secret, mac = token.split(".")
    for made_up in (named, f"{named}.", f"{named}.{secret}", f"{named}.{secret}.{'0' * 64}", f"{named}.x.{mac}",
                    f"{named}.{other[1]}.{other[2]}", f"{named}.{secret}.{mac}x", f"{named}.{secret}.ü"):  # fmt: skip
        assert_problem(refresh(http, made_up), 401, "session_ended")
    assert refresh(http, token).status_code == 200


@pytest.mark.parametrize("token", ["", "x", "a" * 200, "\0"])
def test_a_made_up_refresh_token(http: httpx2.Client, token: str) -> None:
    assert_problem(refresh(http, token), 401, "session_ended")


def test_a_login_that_was_not_used_for_long_is_over(
    http: httpx2.Client, site: Installation, own: Api
) -> None:
    tokens = login(http, own.username, own.password).json()
    (changed,) = site.execute(
        "UPDATE logins SET expires_at = '2020-01-01 00:00:00.000000' WHERE id ="
        " (SELECT id FROM logins ORDER BY created_at DESC LIMIT 1)"
        " RETURNING id"
    )
    assert changed
    assert_problem(refresh(http, tokens["refresh_token"]), 401, "session_ended")
    assert_problem(http.get("/auth/me", headers=bearer(tokens["access_token"])), 401, "session_ended")


def test_logging_out_ends_this_login_and_no_other(
    http: httpx2.Client, site: Installation, admin: Api, own: Api
) -> None:
    tokens = login(http, own.username, own.password).json()
    answer = http.post("/auth/logout", headers={"Origin": site.url})
    assert answer.status_code == 200 and "access_token" not in http.cookies
    assert_problem(http.get("/auth/me", headers=bearer(tokens["access_token"])), 401, "session_ended")
    assert_problem(refresh(http, tokens["refresh_token"]), 401, "session_ended")
    own.get("/auth/me")
    assert entries(admin, own.username, action="auth.logout")[0]["outcome"] == "allowed"


def test_an_account_is_what_it_is_now(site: Installation, own: Api) -> None:
    """Role and existence are looked up with every request; no token outlives a change."""
    own_id = own.get("/auth/me")["id"]
    own_id = own_id if site.servers else own_id.replace("-", "")
    assert own.http.get("/audit/").status_code == 403
    site.execute("UPDATE users SET role = 'admin' WHERE id = :id", {"id": own_id})
    assert own.http.get("/audit/").status_code == 200
    site.execute("DELETE FROM users WHERE id = :id", {"id": own_id})
    assert_problem(own.http.get("/auth/me"), 401, "session_ended")


# -- the own account ---------------------------------------------------------------------------------------


@pytest.mark.walls
def test_changing_the_user_name(http: httpx2.Client, admin: Api, own: Api) -> None:
    old, new = own.username, f"Neu-é-{secrets.token_hex(4)}"
    body = {"current_password": own.password, "new_username": f" {new} "}
    wrong = own.http.post("/auth/change-username", json={**body, "current_password": "wrong"})
    assert_problem(wrong, 422, "bad_credentials")
    taken = own.http.post("/auth/change-username", json={**body, "new_username": NAME.upper()})
    assert_problem(taken, 409, "name_taken")
    for bad in (" ", "a\nb", "x" * 151, "\u202e"):
        assert own.http.post("/auth/change-username", json={**body, "new_username": bad}).status_code == 422
    assert own.get("/auth/me")["username"] == old
    assert own.post("/auth/change-username", body)["username"] == new
    assert own.get("/auth/me")["username"] == new, "the login goes on"
    assert_problem(login(http, old, own.password), 401, "bad_credentials")
    assert login(http, new.upper(), own.password).status_code == 200
    assert own.post("/auth/change-username", {**body, "new_username": new.lower()})["username"] == new.lower()
    (entry,) = entries(admin, old, action="auth.change_username", outcome="allowed")
    assert (entry["meta"], entry["object_type"]) == ({"old": old, "new": new}, "user")
    refused = entries(admin, old, action="auth.change_username", outcome="refused")
    assert [entry["meta"]["reason"] for entry in refused] == ["bad_credentials"]


def test_changing_the_password_ends_the_other_logins(http: httpx2.Client, admin: Api, own: Api) -> None:
    other = login(http, own.username, own.password).json()
    new = "p\u00e4ssword of mine"
    body = {"current_password": own.password, "new_password": new}
    assert_problem(
        own.http.post("/auth/change-password", json={**body, "current_password": "x"}), 422, "bad_credentials"
    )
    for bad in ("short", own.password, "x" * 1001):
        assert own.http.post("/auth/change-password", json={**body, "new_password": bad}).status_code == 422
    assert http.get("/auth/me", headers=bearer(other["access_token"])).status_code == 200
    assert own.post("/auth/change-password", body)["username"] == own.username
    own.get("/auth/me")
    assert_problem(http.get("/auth/me", headers=bearer(other["access_token"])), 401, "session_ended")
    assert_problem(refresh(http, other["refresh_token"]), 401, "session_ended")
    assert_problem(login(http, own.username, own.password), 401, "bad_credentials")
    assert login(http, own.username, new).status_code == 200
    outcomes = [entry["outcome"] for entry in entries(admin, own.username, action="auth.change_password")]
    assert outcomes == ["allowed", "refused"]


def test_the_password_is_kept_as_an_argon2id_hash(site: Installation) -> None:
    ((kept,),) = site.execute("SELECT password_hash FROM users WHERE username = :name", {"name": NAME})
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


# -- guessing ----------------------------------------------------------------------------------------------


@pytest.mark.walls
def test_of_two_logins_that_change_the_password_at_once_one_wins(
    http: httpx2.Client, admin: Api, own: Api
) -> None:
    for number in range(4):
        both = [login(http, own.username, own.password).json()["access_token"] for _ in range(2)]
        http.cookies.clear()

        def change(token: str, new: str) -> int:
            body = {"current_password": own.password, "new_password": new}
            return own.http.post("/auth/change-password", json=body, headers=bearer(token)).status_code

        wanted = [f"new password {number} of {side}" for side in "ab"]
        with ThreadPoolExecutor(2) as people:
            codes = list(people.map(change, both, wanted))
        assert sorted(codes)[0] == 200 and sorted(codes)[1] in (401, 422)
        winner = codes.index(200)
        own.password = wanted[winner]
        assert login(http, own.username, own.password).status_code == 200
        assert own.http.get("/auth/me", headers=bearer(both[winner])).status_code == 200
    refused = entries(admin, own.username, action="auth.change_password", outcome="refused")
    # One that came after the other's change was refused for its password, or had no login any more.
    assert {entry["meta"]["reason"] for entry in refused} <= {"changed_meanwhile", "bad_credentials"}


def forwarded_guesses(server: Server, name: str) -> list[int]:
    """What a dozen guesses are answered that say they were forwarded, each for another address."""
    with server.nobody("/api/v1") as http:
        return [
            http.post(
                "/auth/login",
                json={"username": name, "password": "guess"},
                headers={"X-Forwarded-For": f"10.0.0.{number}"},
            ).status_code
            for number in range(12)
        ]


# The web server sees to it, and not the application: these need the process.
def test_who_forwards_is_not_believed(server: Server, api: Api) -> None:
    """Else a made-up header would get round the throttle, and put any address into the audit log."""
    name = server.account("viewer").username
    assert forwarded_guesses(server, name) == [401] * 10 + [429] * 2
    assert {entry["address"] for entry in entries(api, name)} == {"127.0.0.1"}


def test_who_forwards_is_believed_if_trusted() -> None:
    with Server(env={"TRUSTED_PROXIES": "127.0.0.1"}) as server:
        assert forwarded_guesses(server, NAME) == [401] * 12
        odd = ["<b>x</b>", "a" * 2000, "::ffff:10.9.9.9", "10.0.0.300", "2001:DB8::1"]
        with server.nobody("/api/v1") as http:
            for address in odd:
                http.headers["X-Forwarded-For"] = address
                assert login(http, f"u{len(address)}", "guess").status_code == 401
        addresses = {entry["address"] for entry in server.client().all("/audit/", outcome="refused")}
        told = {f"10.0.0.{number}" for number in range(12)}
        assert addresses == told | {"unknown", "10.9.9.9", "2001:db8::1"}


@pytest.mark.walls
def test_guessing_is_throttled_for_the_account_that_is_guessed_at(
    http: httpx2.Client, admin: Api, own: Api
) -> None:
    for _ in range(10):
        assert login(http, own.username, "guess").status_code == 401
    for name in (own.username, own.username.upper()):
        answer = login(http, name, own.password)
        assert_problem(answer, 429, "throttled")
        assert 0 < int(answer.headers["retry-after"]) <= 301
    assert login(http, NAME, PASSWORD).status_code == 200, "others are not locked out"
    own.get("/auth/me")
    newest = entries(admin, own.username, action="auth.login")[0]
    assert (newest["outcome"], newest["meta"]["reason"]) == ("refused", "throttled")


@pytest.mark.walls
def test_a_right_password_forgives_the_wrong_ones() -> None:
    with Application() as site:
        http = site.nobody("/api/v1")
        for _ in range(2):
            for _ in range(8):
                assert login(http, NAME, "guess").status_code == 401
            assert login(http, NAME, PASSWORD).status_code == 200


def test_weak_passwords_are_judged_for_who_knows_the_present_one(own: Api) -> None:
    """To judge one costs the server a tenth of a second and more."""
    body = {"current_password": "guess", "new_password": "4@8({[<369!1|075$+7%2xyz"}
    codes = [own.http.post("/auth/change-password", json=body).status_code for _ in range(12)]
    assert codes == [422] * 10 + [429] * 2


def test_guessing_with_a_stolen_token_is_throttled_too(own: Api) -> None:
    body = {"current_password": "guess", "new_password": "another-password"}
    codes = [own.http.post("/auth/change-password", json=body).status_code for _ in range(10)]
    assert codes == [422] * 10
    answer = own.http.post("/auth/change-password", json={**body, "current_password": own.password})
    assert_problem(answer, 429, "throttled")
    assert int(answer.headers["retry-after"]) > 0
    username = {"current_password": own.password, "new_username": "x"}
    assert_problem(own.http.post("/auth/change-username", json=username), 429, "throttled")


# -- starting ----------------------------------------------------------------------------------------------


def test_the_first_password_is_made_up_and_shown_once() -> None:
    with Server(env={"ADMIN_PASSWORD": "", "ADMIN_USERNAME": "root"}) as server:
        told = server.log.read_text()
        assert "The first account was made: root" in told
        password = told.split("shown this once: ")[1].split()[0]
        assert len(password) >= 20
        first = Api(server.url, "root", password)
        try:
            assert first.get("/auth/me")["role"] == "admin"
            assert first.tokens["user"]["must_change_password"] is True, "it was printed"
            server.kill()
            server.start()
            assert server.log.read_text().count(password) == 1
            first.get("/auth/me")  # logins outlive a restart
        finally:
            first.http.close()


# -- a lost password ---------------------------------------------------------------------------------------


def command(site: Installation, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`testum users reset-password` on the server's machine."""
    return forkserver.run_text(
        "users", "reset-password", *arguments, env={**site.env, **env}, folder=site.data_dir
    )


@pytest.mark.walls
def test_a_lost_password_is_given_anew_while_the_server_runs(
    site: Installation, http: httpx2.Client, admin: Api, own: Api
) -> None:
    ran = command(site, own.username.upper())
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    said, _, password = ran.stdout.strip().rpartition(": ")
    assert said == f"{own.username} logs in with this password, and must then choose another one"
    assert_problem(own.http.get("/auth/me"), 401, "session_ended")
    assert_problem(login(http, own.username, own.password), 401, "bad_credentials")
    answer = login(http, own.username, password).json()
    assert answer["user"]["must_change_password"] is True and answer["user"]["role"] == "operator"
    (entry,) = admin.all("/audit/", action="user.reset_password", object_id=answer["user"]["id"])
    assert entry["user"].endswith(" on the server's machine") and entry["meta"] == {"name": own.username}
    assert password not in json.dumps(admin.all("/audit/"))


def test_a_password_is_given_to_nobody_and_nowhere(site: Installation, tmp_path: Path) -> None:
    nobody = command(site, "nobody-here")
    assert nobody.returncode == 2 and nobody.stdout == ""
    assert nobody.stderr.startswith("testum: No account is named nobody-here. There are: admin")
    elsewhere = command(site, "admin", DATA_DIR=str(tmp_path / "none"), DATABASE_URL="")
    assert (
        elsewhere.returncode == 2
        and "testum.db is not there. Call this where the server runs" in elsewhere.stderr
    )
    assert not (tmp_path / "none").exists(), "nothing is made"
    wrong = command(site, "admin", DATABASE_URL="no address")
    assert wrong.returncode == 2 and wrong.stderr.startswith("testum: DATABASE_URL: is not an address.")


def test_an_admin_password_that_has_no_effect_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    with Application(env={"ADMIN_PASSWORD": "kettle-orbit-plum"}) as own_site:
        for given, told in (("kettle-orbit-plum", 0), ("another-orbit-plum", 1), ("", 0)):
            own_site.stop()
            own_site.env["ADMIN_PASSWORD"] = given
            own_site.start()
            assert "".join(capfd.readouterr()).count("ADMIN_PASSWORD has no effect") == told
