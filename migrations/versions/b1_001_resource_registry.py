"""The registry of things outside the ledger that sessions belong to, with ids that outlive their names."""

import sqlalchemy as sa
from alembic import op

from sessionledger.infrastructure.database.schema import refuse_loss

revision = "b1_001_resource_registry"
down_revision = None
branch_labels = None
depends_on = None

LOSES = {"resources": "resources"}
ID = sa.String(26).with_variant(sa.String(26, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "resources",
        sa.Column("resource_id", ID, nullable=False),
        sa.Column("namespace", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("name", sa.String(1000), nullable=False),
        sa.Column("aliases", sa.Text(), server_default="[]", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("resource_id", name="pk_resources"),
    )
    op.create_index("ix_resources_namespace_kind_name", "resources", ["namespace", "kind", "name"])


def downgrade() -> None:
    refuse_loss(LOSES)
    op.drop_table("resources")
