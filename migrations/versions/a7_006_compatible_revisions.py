"""Which older revisions' releases may go on working with the database, so that a release need not guess."""

import sqlalchemy as sa
from alembic import op

revision = "a7_006_compatible_revisions"
down_revision = "a7_005_listing_indexes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sessionledger_compatible_revisions",
        sa.Column("revision", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("revision", name="pk_sessionledger_compatible_revisions"),
    )
    op.execute(f"INSERT INTO sessionledger_compatible_revisions (revision) VALUES ('{revision}')")


def downgrade() -> None:
    op.drop_table("sessionledger_compatible_revisions")
