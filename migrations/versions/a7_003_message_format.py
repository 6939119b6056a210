"""The format of messages and the hash of their content; both are filled in for messages stored before."""

import hashlib

import sqlalchemy as sa
from alembic import context, op

from sessionledger.infrastructure.database.schema import refuse_loss

revision = "a7_003_message_format"
down_revision = "a7_002_session_details"
branch_labels = None
depends_on = None

# A format that the upgrade would not find again by itself.
LOSES = {
    "session_messages WHERE format <> CASE WHEN content LIKE '\"%' THEN 'text' ELSE 'json' END": (
        "the formats of messages"
    )
}
BATCH = 1000


def upgrade() -> None:
    op.add_column("session_messages", sa.Column("format", sa.String(64), server_default="json", nullable=False))
    op.add_column("session_messages", sa.Column("content_sha256", sa.String(64)))
    # Canonical text that starts with a quote is a string. A hash that stays NULL is worked out when it is read.
    op.execute("UPDATE session_messages SET format = 'text' WHERE content LIKE '\"%'")
    if not context.is_offline_mode():
        _hash(op.get_bind())


def _hash(connection: sa.Connection) -> None:
    messages = sa.table("session_messages", *map(sa.column, ("session_id", "message_id", "content", "content_sha256")))
    key = sa.tuple_(messages.c.session_id, messages.c.message_id)
    page = sa.select(messages).order_by(messages.c.session_id, messages.c.message_id).limit(BATCH)
    write = (
        sa.update(messages)
        .where(messages.c.session_id == sa.bindparam("session"), messages.c.message_id == sa.bindparam("message"))
        .values(content_sha256=sa.bindparam("hash"))
    )
    rows = connection.execute(page).all()
    while rows:
        hashes = [
            {
                "session": row.session_id,
                "message": row.message_id,
                "hash": hashlib.sha256(row.content.encode()).hexdigest(),
            }
            for row in rows
        ]
        connection.execute(write, hashes)
        rows = connection.execute(page.where(key > (rows[-1].session_id, rows[-1].message_id))).all()


def downgrade() -> None:
    refuse_loss(LOSES)
    op.drop_column("session_messages", "content_sha256")
    op.drop_column("session_messages", "format")
