"""Title, key, workspace, version and archiving of sessions."""

import sqlalchemy as sa
from alembic import op

from sessionledger.infrastructure.database.schema import refuse_loss

revision = "a7_002_session_details"
down_revision = "a7_001_session_persistence"
branch_labels = None
depends_on = None

LOSES = {
    "sessions WHERE title IS NOT NULL OR key IS NOT NULL OR workspace IS NOT NULL OR archived_at IS NOT NULL"
    " OR version > 1": "titles, keys, workspaces, versions or archive marks of sessions"
}
ID = sa.String(26).with_variant(sa.String(26, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("title", sa.String(1000)))
    op.add_column("sessions", sa.Column("key", sa.String(255)))
    op.add_column("sessions", sa.Column("workspace", ID))
    op.add_column("sessions", sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False))
    op.add_column("sessions", sa.Column("archived_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    refuse_loss(LOSES)
    for column in ("archived_at", "version", "workspace", "key", "title"):
        op.drop_column("sessions", column)
