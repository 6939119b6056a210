"""How PostgreSQL stores sessions: a small index of times that no listing is planned by, and room for appends.

Other databases have one kind of index and no such room; there nothing changes but the revision.
"""

from alembic import op

from sessionledger.infrastructure.database.indexes import replace_index

revision = "a7_008_storage_of_sessions"
down_revision = "a7_007_imports"
branch_labels = None
depends_on = None

LOSES = {}


def upgrade() -> None:
    replace_index("sessions", "ix_sessions_created_at", ["created_at"], using="brin")
    store("SET (fillfactor = 90)")
    op.execute(f"INSERT INTO sessionledger_compatible_revisions (revision) VALUES ('{revision}')")


def downgrade() -> None:
    replace_index("sessions", "ix_sessions_created_at", ["created_at"], using="btree")
    op.execute(f"DELETE FROM sessionledger_compatible_revisions WHERE revision = '{revision}'")
    store("RESET (fillfactor)")


def store(how: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE sessions {how}")
