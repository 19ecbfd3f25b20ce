"""Add searches to training jobs: the space, the plan, the place of a trial, and figures of validation rows."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    with op.batch_alter_table("training_jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("search", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("search_plan", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("search_job_id", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("trial_number", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("trial_stopped", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("validation_metric", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("validation_loss", sa.Float(), nullable=True))
        batch_op.create_index("ix_training_jobs_trial", ["search_job_id", "trial_number"], unique=True)
