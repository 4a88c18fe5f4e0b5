"""How long a job took, by a clock that nobody sets: moments are by clocks that may be set meanwhile."""

import sqlalchemy as sa
from alembic import op

from testum.db.base import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

oldest_code = "0004"


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("began_steady_at", UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("duration_seconds", sa.Double(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("duration_seconds")
        batch_op.drop_column("began_steady_at")
