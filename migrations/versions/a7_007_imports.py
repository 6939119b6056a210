"""Where an imported session came from, and what its archive held that this release does not know."""

import sqlalchemy as sa
from alembic import op

from sessionledger.infrastructure.database.schema import refuse_loss

revision = "a7_007_imports"
down_revision = "a7_006_compatible_revisions"
branch_labels = None
depends_on = None

LOSES = {
    "sessions WHERE source_session_id IS NOT NULL OR source_sha256 IS NOT NULL": "where imported sessions came from",
    "sessions WHERE unknown_fields IS NOT NULL": "fields of imported sessions that this release does not know",
    "session_messages WHERE unknown_fields IS NOT NULL": (
        "fields of imported messages that this release does not know"
    ),
    "token_usage WHERE unknown_fields IS NOT NULL": (
        "fields of imported records of token usage that this release does not know"
    ),
}
ID = sa.String(26).with_variant(sa.String(26, collation="C"), "postgresql")
TABLES = ("sessions", "session_messages", "token_usage")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("source_session_id", ID))
    op.add_column("sessions", sa.Column("source_sha256", sa.String(64)))
    for table in TABLES:
        op.add_column(table, sa.Column("unknown_fields", sa.Text()))
    op.execute(f"INSERT INTO sessionledger_compatible_revisions (revision) VALUES ('{revision}')")


def downgrade() -> None:
    refuse_loss(LOSES)
    op.execute(f"DELETE FROM sessionledger_compatible_revisions WHERE revision = '{revision}'")
    for table in reversed(TABLES):
        op.drop_column(table, "unknown_fields")
    op.drop_column("sessions", "source_sha256")
    op.drop_column("sessions", "source_session_id")
