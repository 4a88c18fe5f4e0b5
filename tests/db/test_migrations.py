"""Migrations, on every database and with rows in every table: they make the tables that the code has, go down and up
again and lose nothing that both sides have room for, and refuse the future."""

import asyncio
import datetime as dt
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from testum.db.migrate import SCHEMA, config, newest, prepare, schema_of_migrations, upgrade
from testum.db.tables import metadata
from testum.errors import ConfigurationError
from testum.installed import INSTALLED

Rows = list[dict[str, Any]]

INSTALLED.load_tables()
REVISIONS = [script.revision for script in ScriptDirectory.from_config(config("sqlite://")).walk_revisions()][
    ::-1
]
"""The oldest first."""


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """The database, past testum."""
    plain = url.replace("+aiosqlite", "").replace("postgresql:", "postgresql+psycopg:")
    made = sa.create_engine(plain, poolclass=sa.NullPool)
    yield made
    made.dispose()


def differences(engine: sa.Engine) -> list[object]:
    """What the tables lack of what the code says they are."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found: list[object] = compare_metadata(context, metadata)
    return found


def reflected(engine: sa.Engine) -> sa.MetaData:
    """The tables as they are, without Alembic's own."""
    found = sa.MetaData()
    found.reflect(engine)
    if (version := found.tables.get("alembic_version")) is not None:
        found.remove(version)
    return found


def shape(engine: sa.Engine) -> dict[str, Any]:
    """What there is of tables, columns, keys and indexes."""
    with engine.connect() as connection:
        look = sa.inspect(connection)
        columns, primary = look.get_multi_columns(), look.get_multi_pk_constraint()
        foreign, indexes = look.get_multi_foreign_keys(), look.get_multi_indexes()
        uniques = look.get_multi_unique_constraints()

    def told(index: Any) -> list[str]:
        more = [f"{name} {value}" for name, value in sorted(index["dialect_options"].items())]
        return [index["name"], *map(str, index["column_names"]), str(index["unique"]), *more]

    return {
        table[1]: (
            {column["name"]: (str(column["type"]), column["nullable"]) for column in of_table},
            primary[table]["constrained_columns"],
            sorted(
                [key["referred_table"], *key["constrained_columns"], str(key["options"])]
                for key in foreign[table]
            ),
            sorted(told(index) for index in indexes[table]),
            sorted(unique["column_names"] for unique in uniques[table]),
        )
        for table, of_table in columns.items()
        if table[1] != "alembic_version"
    }


def contents(engine: sa.Engine) -> dict[str, Rows]:
    """All rows of all tables, each table's in a fixed order."""
    with engine.connect() as connection:
        keys = sa.inspect(connection).get_multi_pk_constraint()
        rows = {
            name: [dict(row._mapping) for row in connection.execute(sa.text(f'SELECT * FROM "{name}"'))]
            for (_, name) in keys
            if name != "alembic_version"
        }
    for (_, name), key in keys.items():
        if name in rows:
            rows[name].sort(
                key=lambda row, key=key: [str(row[column]) for column in key["constrained_columns"]]
            )
    return rows


_WIDENED = frozenset({"exit_code"})


def value_for(column: sa.Column[Any], number: int) -> object:
    """Something that the column can hold, another one for each number."""
    kind = column.type
    unlike = f"{column.table.name}.{column.name} ключ {number}"
    if isinstance(kind, sa.Uuid):
        return UUID(int=uuid4().int)
    if isinstance(kind, sa.CHAR) and kind.length == 32:
        return uuid4().hex  # how SQLite keeps them
    if isinstance(kind, sa.Boolean):
        return number % 2 == 0
    if isinstance(kind, sa.DateTime):
        moment = dt.datetime(2026, 3, 29, 1, 59, number % 60, 123_456, tzinfo=dt.UTC)
        return moment if kind.timezone else moment.replace(tzinfo=None)
    if isinstance(kind, sa.JSON):
        return {"text": unlike, "list": [1, None, {"deep": 0.5}]}
    if isinstance(kind, sa.LargeBinary):
        return bytes(range(256)) * 3 + b"%d" % number
    if isinstance(kind, sa.Float):
        return number + 0.1
    if isinstance(kind, sa.BigInteger):
        # What was wider once than its schema before: what both hold comes back unchanged.
        return 2**31 - 1 - number if column.name in _WIDENED else 2**53 + number
    if isinstance(kind, sa.Integer):
        return number + 1
    if isinstance(kind, sa.String):
        return (f"{number}: " + unlike * 20)[: kind.length or 2000]
    raise AssertionError(f"no value for {column}: {kind!r}")


def fill(engine: sa.Engine, numbers: Sequence[int] = range(3)) -> None:
    """Rows in every table, one for each number: every column filled in one, all that may be NULL so in the next, and so on.
    Each refers to rows that there are."""
    made: dict[str, Rows] = {}
    with engine.begin() as connection:
        for table in reflected(engine).sorted_tables:
            for place, row_number in enumerate(numbers):
                row: dict[str, object] = {}
                for column in table.columns:
                    keys = [key.column for key in column.foreign_keys]
                    if column.nullable and row_number % 2:
                        continue
                    if keys and keys[0].table is table:
                        # To a row of the same table: the one before.
                        if earlier := made.get(table.name):
                            row[column.name] = earlier[-1][keys[0].name]
                    elif keys:
                        row[column.name] = made[keys[0].table.name][place][keys[0].name]
                    else:
                        row[column.name] = value_for(column, row_number)
                connection.execute(table.insert(), [row])
                made.setdefault(table.name, []).append(row)


def common(rows: Rows, columns: set[str]) -> Rows:
    return [{name: value for name, value in row.items() if name in columns} for row in rows]


def step(settings: Config, revision: str, *, down: bool) -> None:
    (command.downgrade if down else command.upgrade)(settings, revision)


def test_an_empty_database_gets_the_tables_of_the_code(url: str, engine: sa.Engine) -> None:
    assert asyncio.run(upgrade(url)) == newest() == REVISIONS[-1]
    assert differences(engine) == []
    assert asyncio.run(upgrade(url)) == REVISIONS[-1], "a second run changes nothing"


def test_a_new_file_gets_what_the_migrations_make(tmp_path: Path) -> None:
    assert SCHEMA.read_text("utf-8") == schema_of_migrations(), "run `make schema`"
    dumps = []
    for name, start in (("new", upgrade), ("prepared", prepare), ("migrated", None)):
        url = f"sqlite+aiosqlite:///{tmp_path / name}"
        if start is None:
            step(config(url), "0001", down=False)
            asyncio.run(upgrade(url))
        else:
            asyncio.run(start(url))
        with closing(sqlite3.connect(tmp_path / name)) as database:
            dumps.append(sorted(re.sub(r"\s+", "", line) for line in database.iterdump()))
    assert dumps[0] == dumps[1] == dumps[2]


def test_a_new_file_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "testum.db"
    cut = tmp_path / "schema.sql"
    cut.write_text(SCHEMA.read_text("utf-8").replace("INSERT INTO", "No statement:"), "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr("testum.db.migrate.SCHEMA", cut)
        with pytest.raises(ConfigurationError, match=r"testum\.db.*syntax error"):
            asyncio.run(upgrade(f"sqlite+aiosqlite:///{path}"))
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT * FROM sqlite_master").fetchall() == []
    assert asyncio.run(upgrade(f"sqlite+aiosqlite:///{path}")) == newest()


def test_a_file_whose_migrations_were_all_taken_back_is_not_new(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'testum.db'}"
    step(config(url), "0001", down=False)
    step(config(url), "base", down=True)
    assert asyncio.run(upgrade(url)) == newest()


def test_each_migration_goes_down_and_up_again_with_rows_in_every_table(url: str, engine: sa.Engine) -> None:
    """With rows of that release and of all before."""
    settings = config(url)
    for number, (lower, upper) in enumerate(pairwise(["base", *REVISIONS])):
        step(settings, upper, down=False)
        fill(engine, range(3 * number, 3 * number + 3))
        made, before = shape(engine), contents(engine)
        assert all(len(rows) >= 3 for rows in before.values()) and len(before) >= 10
        for _ in range(2):
            step(settings, lower, down=True)
            older, left = contents(engine), shape(engine)
            for name, rows in older.items():
                columns = set(made[name][0]) & set(left[name][0])
                assert common(rows, columns) == common(before[name], columns), f"{upper}: {name}, down"
            step(settings, upper, down=False)
            assert shape(engine) == made, upper
            after = contents(engine)
            for name, rows in older.items():
                kept = set(rows[0]) & set(made[name][0])
                assert common(after[name], kept) == common(before[name], kept), f"{upper}: {name}, up"
                for column in set(made[name][0]) - kept:
                    # What is new again holds something, unless it may be missing.
                    may_be_missing = made[name][0][column][1]
                    assert all(row[column] is not None or may_be_missing for row in after[name]), column
            assert {name: rows for name, rows in after.items() if name not in older} == {
                name: [] for name in set(made) - set(older)
            }
    assert differences(engine) == []


def test_all_the_way_up_with_rows_of_every_release(url: str, engine: sa.Engine) -> None:
    """What was in the first tables is still there in the last ones."""
    settings = config(url)
    step(settings, REVISIONS[0], down=False)
    fill(engine)
    before = contents(engine)
    assert asyncio.run(upgrade(url)) == REVISIONS[-1]
    after = contents(engine)
    for name, rows in before.items():
        kept = set(rows[0]) & set(after[name][0])
        assert common(after[name], kept) == common(rows, kept), name
    assert differences(engine) == []
    step(settings, "base", down=True)
    assert shape(engine) == {}


def test_positions_go_on_where_they_were(url: str, engine: sa.Engine) -> None:
    """0002: a job that ended under the first schema does not begin its order anew."""
    settings = config(url)
    step(settings, "0001", down=False)
    fill(engine, range(6))
    with engine.begin() as connection:
        first, second, *others = connection.execute(
            sa.text("SELECT id FROM jobs ORDER BY created_at")
        ).scalars()
        move = sa.text("UPDATE task_runs SET job_id = :job, finished_position = :at WHERE ordinal = :ordinal")
        rows = [
            (first, 3, 1),
            (first, 2**53, 2),
            (first, None, 3),
            (first, 7, 4),
            (second, None, 5),
            (second, None, 6),
        ]
        connection.execute(move, [{"job": job, "at": at, "ordinal": ordinal} for job, at, ordinal in rows])
    step(settings, "0002", down=False)
    with engine.begin() as connection:
        found = dict(connection.execute(sa.text("SELECT id, position FROM jobs")).all())
    assert found == {first: 2**53, second: 0, **dict.fromkeys(others, 0)}


@pytest.mark.parametrize("oldest", ["9998", None])
def test_a_newer_database_is_left_alone(url: str, engine: sa.Engine, oldest: str | None) -> None:
    asyncio.run(upgrade(url))
    fill(engine)
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE alembic_version SET version_num = '9999', oldest_code = :oldest"),
            {"oldest": oldest},
        )
    before = shape(engine), contents(engine)
    for start in (upgrade, prepare):
        with pytest.raises(ConfigurationError, match=r"newer testum.*9999"):
            asyncio.run(start(url))
    assert (shape(engine), contents(engine)) == before


def test_a_newer_database_that_this_code_suits(url: str, engine: sa.Engine) -> None:
    """A process of this release starts on it, and changes nothing; to bring it up to date is not for this release."""
    asyncio.run(upgrade(url))
    fill(engine)
    with engine.begin() as connection:
        oldest = connection.scalar(sa.text("SELECT oldest_code FROM alembic_version"))
        connection.execute(
            sa.text("UPDATE alembic_version SET version_num = '9999', oldest_code = :ours"),
            {"ours": REVISIONS[-1]},
        )
    assert oldest in REVISIONS
    before = shape(engine), contents(engine)
    asyncio.run(prepare(url))
    with pytest.raises(ConfigurationError, match=r"newer testum.*9999"):
        asyncio.run(upgrade(url))
    assert (shape(engine), contents(engine)) == before


def test_every_migration_says_whose_code_it_suits() -> None:
    """From the one on that can: never code that is newer than itself, and never again what one had left behind."""
    scripts = list(ScriptDirectory.from_config(config("sqlite://")).walk_revisions())[::-1]
    said = [script.module.oldest_code for script in scripts if script.revision >= "0005"]
    assert said == sorted(said) and set(said) <= set(REVISIONS)
    assert all(
        script.module.oldest_code <= script.revision for script in scripts if script.revision >= "0005"
    )


def test_an_older_database_waits_for_the_upgrade(url: str, engine: sa.Engine) -> None:
    """Where several processes share it, none of them upgrades it at its start."""
    step(config(url), REVISIONS[-2], down=False)
    fill(engine)
    before = shape(engine), contents(engine)
    with pytest.raises(ConfigurationError, match=r"older testum.*`testum db upgrade`"):
        asyncio.run(prepare(url))
    assert (shape(engine), contents(engine)) == before
    asyncio.run(upgrade(url))
    assert asyncio.run(prepare(url)) == REVISIONS[-1]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_many_that_start_at_once_on_an_empty_database(url: str, engine: sa.Engine) -> None:
    """One makes the tables, and the others wait for it."""

    async def start() -> list[str]:
        return await asyncio.gather(*(prepare(url) for _ in range(6)))

    assert asyncio.run(start()) == [REVISIONS[-1]] * 6
    assert differences(engine) == []


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "testum.db"
    path.write_bytes(b"not a database\n" * 1000)
    with pytest.raises(ConfigurationError, match=r"testum\.db.*not a database"):
        asyncio.run(upgrade(f"sqlite+aiosqlite:///{path}"))


def test_a_newer_file_is_not_even_touched(tmp_path: Path) -> None:
    path = tmp_path / "testum.db"
    url = f"sqlite+aiosqlite:///{path}"
    asyncio.run(upgrade(url))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"newer testum.*9999"):
        asyncio.run(upgrade(url))
    assert path.read_bytes() == before


def test_exit_codes_that_the_schema_before_cannot_hold_stay_failures(url: str, engine: sa.Engine) -> None:
    """0007: 32 bits without a sign are as much as the greatest number that there was room for."""
    settings = config(url)
    step(settings, "0007", down=False)
    fill(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE task_runs SET exit_code = 4294967295"))
    step(settings, "0006", down=True)
    with engine.begin() as connection:
        left = set(connection.execute(sa.text("SELECT exit_code FROM task_runs")).scalars())
    assert left == ({2**32 - 1} if engine.dialect.name == "sqlite" else {2**31 - 1})
