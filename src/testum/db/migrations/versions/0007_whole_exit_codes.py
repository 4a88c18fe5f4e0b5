"""An exit status may be any number of 32 bits without a sign (RFC 4254, section 6.10). SQLite stores it anyhow."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

oldest_code = "0004"


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("task_runs", "exit_code", type_=sa.BigInteger())


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        # What does not fit stays a failure.
        op.alter_column(
            "task_runs",
            "exit_code",
            type_=sa.Integer(),
            postgresql_using="(CASE WHEN exit_code > 2147483647 THEN 2147483647 ELSE exit_code END)::integer",
        )
