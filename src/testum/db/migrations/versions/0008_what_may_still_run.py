"""What is claimed and not sent yet, and what may still be at work on a host though its task is over."""

import sqlalchemy as sa
from alembic import op

from testum.db.base import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

oldest_code = "0004"

_LOOKED_FOR = sa.text("look_at IS NOT NULL")
_REMAINING = sa.text("may_still_run")


def upgrade() -> None:
    # An earlier release says of none of its tasks that it is unsent: they are taken for sent, as they were by it.
    for name in ("unsent", "may_still_run", "to_be_ended"):
        op.add_column("task_runs", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("task_runs", sa.Column("look_at", UtcDateTime(timezone=True), nullable=True))
    op.add_column("task_runs", sa.Column("boot_id", sa.String(length=64), nullable=True))
    op.create_index(
        "ix_task_runs_look",
        "task_runs",
        ["look_at"],
        postgresql_where=_LOOKED_FOR,
        sqlite_where=_LOOKED_FOR,
    )
    op.create_index(
        "ix_task_runs_remaining",
        "task_runs",
        ["job_id"],
        postgresql_where=_REMAINING,
        sqlite_where=_REMAINING,
    )


def downgrade() -> None:
    # What may still run was lost to an earlier release, too: nothing is to be said of it there.
    op.drop_index("ix_task_runs_remaining", "task_runs")
    op.drop_index("ix_task_runs_look", "task_runs")
    for name in ("boot_id", "look_at", "to_be_ended", "may_still_run", "unsent"):
        op.execute(sa.text(f"ALTER TABLE task_runs DROP COLUMN {name}"))
