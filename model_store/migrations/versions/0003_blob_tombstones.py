"""Add tombstones of blobs that are being removed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "blob_tombstones",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("buried_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_settled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_blob_tombstones"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("blob_tombstones", schema=None) as batch_op:
        batch_op.create_index("ix_blob_tombstones_digest", ["digest"], unique=False)
