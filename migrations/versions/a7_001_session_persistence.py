"""Sessions and their messages. The counter `last_sequence` numbers a session's messages."""

import sqlalchemy as sa
from alembic import op

from sessionledger.infrastructure.database.schema import refuse_loss

revision = "a7_001_session_persistence"
down_revision = "b1_001_resource_registry"
branch_labels = None
depends_on = None

LOSES = {"sessions": "sessions and their messages"}
ID = sa.String(26).with_variant(sa.String(26, collation="C"), "postgresql")


def count(name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{name} >= 0 AND {name} <= 9223372036854775807", name=op.f(f"ck_sessions_{name}"))


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("session_id", ID, nullable=False),
        sa.Column("namespace", sa.String(255), nullable=False),
        sa.Column("actor_name", sa.String(255)),
        sa.Column("metadata", sa.Text(), server_default="{}", nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_sessions"),
        count("last_sequence"),
        count("input_tokens"),
        count("output_tokens"),
    )
    op.create_index("ix_sessions_created_at", "sessions", ["created_at"])
    op.create_index("ix_sessions_actor_name", "sessions", ["actor_name"])
    op.create_table(
        "session_messages",
        sa.Column("message_id", ID, nullable=False),
        sa.Column("session_id", ID, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.String(64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("tool_call_id", sa.String(255)),
        sa.Column("metadata", sa.Text(), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "message_id", name="pk_session_messages"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.session_id"], name="fk_session_messages_session_id", ondelete="CASCADE"
        ),
    )
    op.create_index(
        "ix_session_messages_session_id_sequence", "session_messages", ["session_id", "sequence"], unique=True
    )


def downgrade() -> None:
    refuse_loss(LOSES)
    op.drop_table("session_messages")
    op.drop_table("sessions")
