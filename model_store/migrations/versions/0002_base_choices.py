"""Keep how a job chose its base."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    with op.batch_alter_table("training_jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("asked_recipe", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("recommendation", sa.JSON(), nullable=True))
