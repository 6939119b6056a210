"""The ledger of token usage, and the further totals of sessions. Totals counted before open the ledger."""

import sqlalchemy as sa
from alembic import op

from sessionledger.infrastructure.database.schema import refuse_loss

revision = "a7_004_token_usage"
down_revision = "a7_003_message_format"
branch_labels = None
depends_on = None

LOSES = {
    "token_usage": "the ledger of token usage",
    "sessions WHERE cached_input_tokens > 0 OR cache_write_tokens > 0 OR reasoning_tokens > 0 OR cost IS NOT NULL": (
        "totals of token usage"
    ),
}
ID = sa.String(26).with_variant(sa.String(26, collation="C"), "postgresql")
COUNTS = ("cached_input_tokens", "cache_write_tokens", "reasoning_tokens")


def add_count(name: str, rule: str) -> None:
    # One statement that both databases understand: Alembic cannot add a column with its CHECK to SQLite in place.
    op.execute(
        f"ALTER TABLE sessions ADD COLUMN {name} BIGINT {rule} "
        f"CONSTRAINT ck_sessions_{name} CHECK ({name} >= 0 AND {name} <= 9223372036854775807)"
    )


def upgrade() -> None:
    op.create_table(
        "token_usage",
        sa.Column("session_id", ID, nullable=False),
        sa.Column("usage_id", ID, nullable=False),
        sa.Column("message_id", ID),
        sa.Column("actor_name", sa.String(255)),
        sa.Column("namespace", sa.String(255), nullable=False),
        sa.Column("model", sa.String(255)),
        sa.Column("input_tokens", sa.BigInteger()),
        sa.Column("output_tokens", sa.BigInteger()),
        sa.Column("cached_input_tokens", sa.BigInteger()),
        sa.Column("cache_write_tokens", sa.BigInteger()),
        sa.Column("reasoning_tokens", sa.BigInteger()),
        sa.Column("cost", sa.BigInteger()),
        sa.Column("imported", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "usage_id", name="pk_token_usage"),
    )
    op.create_index("ix_token_usage_namespace_recorded_at", "token_usage", ["namespace", "recorded_at"])
    for name in COUNTS:
        add_count(name, "DEFAULT 0 NOT NULL")
    add_count("cost", "NULL")
    op.execute(
        "INSERT INTO token_usage"
        " (session_id, usage_id, actor_name, namespace, input_tokens, output_tokens, recorded_at)"
        " SELECT session_id, session_id, actor_name, namespace, input_tokens, output_tokens, updated_at FROM sessions"
        " WHERE input_tokens > 0 OR output_tokens > 0"
    )


def downgrade() -> None:
    refuse_loss(LOSES)
    for name in ("cost", *reversed(COUNTS)):
        op.drop_column("sessions", name)
    op.drop_table("token_usage")
