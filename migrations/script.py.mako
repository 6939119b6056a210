"""${message}

Expand-only: harmless to the release before it. Tables are written out here, never imported from the package.
"""

import sqlalchemy as sa
from alembic import op

from sessionledger.infrastructure.database.schema import refuse_loss

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
