"""What the pages show at once: states of platforms, counts of ended jobs, tasks by outcome and hour."""

import sqlalchemy as sa
from alembic import op

from testum.db.base import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("platforms", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("state", sa.String(length=24), server_default="unknown", nullable=False)
        )
        batch_op.add_column(sa.Column("state_at", UtcDateTime(timezone=True), nullable=True))
        batch_op.create_index("ix_platforms_state", ["state", "name"], unique=False)

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("final_counts", sa.JSON(), nullable=True))
        batch_op.create_index("ix_jobs_created", ["created_at", "id"], unique=False)

    with op.batch_alter_table("task_runs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_task_runs_outcome",
            ["status", "finished_at"],
            unique=False,
            postgresql_where=sa.text("finished_at IS NOT NULL"),
            sqlite_where=sa.text("finished_at IS NOT NULL"),
        )

    with op.batch_alter_table("audit_logs", schema=None) as batch_op:
        batch_op.drop_index("ix_audit_logs_object")
        batch_op.create_index(
            "ix_audit_logs_object", ["object_type", "object_id", "timestamp", "id"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("audit_logs", schema=None) as batch_op:
        batch_op.drop_index("ix_audit_logs_object")
        batch_op.create_index("ix_audit_logs_object", ["object_type", "object_id"], unique=False)

    with op.batch_alter_table("task_runs", schema=None) as batch_op:
        batch_op.drop_index("ix_task_runs_outcome")

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_created")
        batch_op.drop_column("final_counts")

    with op.batch_alter_table("platforms", schema=None) as batch_op:
        batch_op.drop_index("ix_platforms_state")
        batch_op.drop_column("state_at")
        batch_op.drop_column("state")
