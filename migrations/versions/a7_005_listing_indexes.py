"""The indexes that pages of a listing are read from, built beside writers."""

from sessionledger.infrastructure.database.indexes import create_indexes, drop_indexes

revision = "a7_005_listing_indexes"
down_revision = "a7_004_token_usage"
branch_labels = None
depends_on = None

INDEXES = {
    f"ix_sessions_{'_'.join(columns)}": columns
    for columns in (
        ("namespace", "created_at", "session_id"),
        ("namespace", "actor_name", "created_at", "session_id"),
        ("namespace", "workspace", "created_at", "session_id"),
    )
}


def upgrade() -> None:
    create_indexes("sessions", INDEXES)


def downgrade() -> None:
    drop_indexes("sessions", INDEXES)
