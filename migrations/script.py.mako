"""${message}

Expand-only: harmless to the release before it, and says so by adding its own revision to those that are recorded. One
that an older release cannot work with deletes the older revisions there, and its downgrade adds them again. Tables are
written out here, never imported from the package. An index on a table that is in use gets a revision of its own, with
`create_indexes` and `drop_indexes` of `sessionledger.infrastructure.database.indexes`.
"""

import sqlalchemy as sa
from alembic import op

from sessionledger.infrastructure.database.schema import refuse_loss

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

# What a downgrade would lose, in words, by the rows in which it stands: a table, and a condition as after WHERE.
LOSES = {}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
    op.execute(f"INSERT INTO sessionledger_compatible_revisions (revision) VALUES ('{revision}')")


def downgrade() -> None:
    refuse_loss(LOSES)
    op.execute(f"DELETE FROM sessionledger_compatible_revisions WHERE revision = '{revision}'")
    ${downgrades if downgrades else "pass"}
