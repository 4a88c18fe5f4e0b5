"""Which older code works on the schema: a column of Alembic's own table (docs/decisions/0022)."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

oldest_code = "0004"


def upgrade() -> None:
    op.add_column("alembic_version", sa.Column("oldest_code", sa.String(32), nullable=True))


def downgrade() -> None:
    # Alembic would copy the table on SQLite, and lose sight of its own row.
    op.execute("ALTER TABLE alembic_version DROP COLUMN oldest_code")
