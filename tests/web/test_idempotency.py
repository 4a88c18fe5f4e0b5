"""`Idempotency-Key`: a request that is sent again gets the first answer and starts nothing, whatever happens between."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.support.application import Application, Listening, settings_of
from tests.support.server import Api, Installation
from tests.support.sshd import RealSshd
from tests.support.tools import unique
from testum.core.idempotency import MAX_KEY, parse_key
from testum.db import idempotency
from testum.db.session import Database
from testum.errors import InvalidInput

# A test's answer comes from the table of keys, and in one of the modes it is PostgreSQL's.
pytestmark = pytest.mark.walls


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with Listening() as running:
        yield running


@pytest.fixture(scope="module")
def api(installation: Installation) -> Api:
    return installation.client()


@pytest.fixture
def platform(api: Api, real_sshd: RealSshd) -> Any:
    return api.add_platform(unique(), real_sshd)


def send(api: Api, path: str, body: Any, key: str) -> httpx2.Response:
    return api.http.post(path, json=body, headers={"Idempotency-Key": key})


def command(platform: Any, text: str = "true") -> dict[str, Any]:
    return {"type": "run_command", "command": text, "targets": {"platform_ids": [platform["id"]]}}


def jobs_like(api: Api, text: str) -> int:
    return len(api.get("/jobs/", q=text))


def test_the_same_again_is_the_same_job(api: Api, platform: Any) -> None:
    mark = unique("true-")
    first = send(api, "/jobs/", command(platform, mark), "a key")
    again = send(api, "/jobs/", command(platform, mark), '"a key"')
    assert first.status_code == again.status_code == 202, again.text
    assert first.content == again.content and jobs_like(api, mark) == 1
    # What is in it may be written in another order.
    other_order = dict(reversed(command(platform, mark).items()))
    assert send(api, "/jobs/", other_order, "a key").content == first.content
    api.wait_job(first.json()["id"])
    api.ok(api.http.delete(f"/platforms/{platform['id']}"))
    assert send(api, "/jobs/", command(platform, mark), "a key").content == first.content


def test_each_way_to_start_a_job(api: Api, platform: Any) -> None:
    job_id = api.start_job("true", targets={"platform_ids": [platform["id"]]})
    api.wait_job(job_id)
    on_one = f"/platforms/{platform['id']}"
    api.post("/keys/", {"name": unique(), "public_key": public_key()})
    for path, body, other in (
        (f"{on_one}/run_command", {"command": "true"}, {"command": "false"}),
        (f"{on_one}/deploy_keys", {}, {"key_ids": []}),
        (f"/jobs/{job_id}/rerun", {"only": "all"}, {"only": "failed"}),
        (f"/jobs/{job_id}/rerun", None, {"only": "failed"}),
    ):
        key = unique()
        first, again = (send(api, path, body, key) for _ in range(2))
        assert first.status_code == 202 and first.content == again.content, (path, first.text, again.text)
        changed = send(api, path, other, key)
        assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused"), path


def public_key() -> str:
    from asyncssh import generate_private_key

    return generate_private_key("ssh-ed25519").export_public_key().decode()


def test_another_request_with_the_key_is_refused(installation: Installation, api: Api, platform: Any) -> None:
    mark, key = unique("true-"), unique()
    first = send(api, "/jobs/", command(platform, mark), key)
    for path, body in (
        ("/jobs/", command(platform, mark + " ")),
        (f"/platforms/{platform['id']}/run_command", {"command": mark}),
        (f"/jobs/{first.json()['id']}/rerun", {}),
    ):
        answer = send(api, path, body, key)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused"), path
    # Another account's key is another key.
    other = send(installation.account("operator"), "/jobs/", command(platform, mark), key)
    assert other.status_code == 202 and other.json()["id"] != first.json()["id"]
    # What was refused has used no key up.
    key = unique()
    assert (
        send(api, "/jobs/", {**command(platform), "targets": {"names": ["nobody"]}}, key).status_code == 422
    )
    assert send(api, "/jobs/", command(platform), key).status_code == 202


def test_a_key_is_forgotten_after_a_day(installation: Installation, api: Api, platform: Any) -> None:
    key, old = unique(), unique()
    first = send(api, "/jobs/", command(platform), key)
    send(api, "/jobs/", command(platform), old)
    installation.execute(
        "UPDATE idempotency_keys SET created_at = '2026-01-01 00:00:00.000000' WHERE key IN (:key, :old)",
        {"key": key, "old": old},
    )
    second = send(api, "/jobs/", command(platform, "false"), key)
    assert second.status_code == 202 and second.json()["id"] != first.json()["id"]
    assert send(api, "/jobs/", command(platform, "false"), key).content == second.content
    asyncio.run(forget(installation))
    kept = {row[0] for row in installation.execute("SELECT key FROM idempotency_keys")}
    assert key in kept and old not in kept


async def forget(installation: Installation) -> None:
    """What the duty does."""
    database = Database(settings_of(installation.env).effective_database_url)
    async with database.write() as session:
        await idempotency.forget(session)
    await database.close()


def test_many_at_once_are_one_job(api: Api, platform: Any) -> None:
    mark, key = unique("true-"), unique()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(api, "/jobs/", command(platform, mark), key), range(8)))
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
    assert len({answer.content for answer in answers}) == 1 and jobs_like(api, mark) == 1


@pytest.mark.servers
def test_two_processes_at_once_are_one_job(installation: Installation, api: Api, platform: Any) -> None:
    with Application(env=installation.env) as second:
        both = (api, second.client())
        for _ in range(5):
            mark, key = unique("true-"), unique()
            with ThreadPoolExecutor(8) as pool:
                answers = list(
                    pool.map(
                        lambda one, mark=mark, key=key: send(one, "/jobs/", command(platform, mark), key),
                        both * 4,
                    )
                )
            assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
            assert len({answer.content for answer in answers}) == 1 and jobs_like(api, mark) == 1


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize("value", ["", '""', '"', '"a', "a\tb", "ключ", "a" * (MAX_KEY + 1)])
def test_a_key_that_is_none(api: Api, platform: Any, value: str) -> None:
    headers = [(b"Idempotency-Key", value.encode())]
    answer = api.http.post("/jobs/", json=command(platform), headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Idempotency-Key")


@pytest.mark.walls(slow=True)
def test_the_forms_of_a_key() -> None:
    for values, key in (
        ([], None),
        (["abc"], "abc"),
        (['"abc"'], "abc"),
        ([r'"a\"\\b"'], r"a\"\b".replace(r"\"", '"')),
        ([" a b "], "a b"),
        (["~" * MAX_KEY], "~" * MAX_KEY),
    ):
        assert parse_key(values) == key, values
    with pytest.raises(InvalidInput):
        parse_key(["a", "a"])
