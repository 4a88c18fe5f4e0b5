"""The installation: the one row that says which one this database belongs to."""

from uuid import UUID

from sqlalchemy import Text, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from testum.db.base import Base, insert_into, new_id

_ONLY = 1


class Installation(Base):
    """There is one row, made at the first start. `key_check` is sealed: it opens with the FERNET_KEY that the
    database is used with."""

    __tablename__ = "installation"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    id: Mapped[UUID] = mapped_column(unique=True)
    key_check: Mapped[str | None] = mapped_column(Text)


async def ensure(session: AsyncSession) -> Installation:
    """The row, which is made where it is missing; locked in this transaction.

    So it is the mutex of what must not be done twice at once, though it has no row of its own to lock: two changes
    of platforms and keys that refer to each other, two first accounts. SQLite has one writer anyway.
    """
    connection = await session.connection()
    await connection.execute(
        insert_into(Installation, connection).values(number=_ONLY, id=new_id()).on_conflict_do_nothing()
    )
    return (await session.execute(select(Installation).with_for_update())).scalar_one()
