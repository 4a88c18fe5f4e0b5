"""${message}."""

import sqlalchemy as sa
from alembic import op

from testum.db.base import SafeText, UtcDateTime
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

oldest_code = ${repr(down_revision)}
# The oldest schema whose code works on this one, too. Set it to `revision` where that code would fail on it.


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
