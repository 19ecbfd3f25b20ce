"""Create the registry, jobs, datasets, the change feed, leases and tombstones."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "alias_moves",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("model_id", sa.String(length=63), nullable=False),
        sa.Column("alias", sa.String(length=63), nullable=False),
        sa.Column("from_number", sa.Integer(), nullable=True),
        sa.Column("to_number", sa.Integer(), nullable=True),
        sa.Column("traffic", sa.JSON(), nullable=True),
        sa.Column("rolls_back", sa.Boolean(), nullable=False),
        sa.Column("is_refused", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("principal", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_alias_moves"),
    )
    with op.batch_alter_table("alias_moves", schema=None) as batch_op:
        batch_op.create_index("ix_alias_moves_alias", ["model_id", "alias", "sequence"], unique=False)

    op.create_table(
        "changes",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("resource", sa.String(length=200), nullable=False),
        sa.Column("principal", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_changes"),
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("parent_id", sa.String(length=63), nullable=True),
        sa.Column("num_rows", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("principal", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("purge_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_purged", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
    )
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.create_index("ix_datasets_digest", ["digest"], unique=False)

    op.create_table(
        "models",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("is_purged", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("purge_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
    )
    op.create_table(
        "dataset_packs",
        sa.Column("dataset_id", sa.String(length=63), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_dataset_packs_dataset_id_datasets"),
        sa.PrimaryKeyConstraint("dataset_id", "digest", name="pk_dataset_packs"),
    )
    op.create_table(
        "model_tags",
        sa.Column("model_id", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=63), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_model_tags_model_id_models"),
        sa.PrimaryKeyConstraint("model_id", "key", name="pk_model_tags"),
    )
    with op.batch_alter_table("model_tags", schema=None) as batch_op:
        batch_op.create_index("ix_model_tags_key", ["key", "value", "model_id"], unique=False)

    op.create_table(
        "training_jobs",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("model_id", sa.String(length=63), nullable=False),
        sa.Column("base_model_id", sa.String(length=63), nullable=False),
        sa.Column("base_number", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.String(length=63), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("alias", sa.String(length=63), nullable=True),
        sa.Column("promote", sa.JSON(), nullable=True),
        sa.Column("promotion", sa.JSON(), nullable=True),
        sa.Column("promotion_state", sa.String(length=16), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("max_failures", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("error_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("version_number", sa.Integer(), nullable=True),
        sa.Column("num_attempts", sa.Integer(), nullable=False),
        sa.Column("num_failures", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.String(length=200), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("principal", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_training_jobs_dataset_id_datasets"),
        sa.PrimaryKeyConstraint("sequence", name="pk_training_jobs"),
        sa.UniqueConstraint("id", name="uq_training_jobs_id"),
        sa.UniqueConstraint("request_id", name="uq_training_jobs_request_id"),
    )
    with op.batch_alter_table("training_jobs", schema=None) as batch_op:
        batch_op.create_index("ix_training_jobs_promotion_state", ["promotion_state"], unique=False)
        batch_op.create_index("ix_training_jobs_state", ["state", "sequence"], unique=False)

    op.create_table(
        "versions",
        sa.Column("model_id", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("manifest_digest", sa.String(length=64), nullable=False),
        sa.Column("architecture", sa.String(length=100), nullable=False),
        sa.Column("modality", sa.String(length=32), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=True),
        sa.Column("num_outputs", sa.Integer(), nullable=False),
        sa.Column("base_model_id", sa.String(length=63), nullable=True),
        sa.Column("base_number", sa.Integer(), nullable=True),
        sa.Column("dataset_id", sa.String(length=63), nullable=True),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=True),
        sa.Column("calibration_rows_digest", sa.String(length=64), nullable=True),
        sa.Column("calibration_rows_bytes", sa.Integer(), nullable=True),
        sa.Column("calibration_logits_digest", sa.String(length=64), nullable=True),
        sa.Column("calibration_logits_bytes", sa.Integer(), nullable=True),
        sa.Column("added_bytes", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=True),
        sa.Column("principal", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("purge_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_versions_model_id_models"),
        sa.PrimaryKeyConstraint("model_id", "number", name="pk_versions"),
        sa.UniqueConstraint("request_id", name="uq_versions_request_id"),
    )
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.create_index("ix_versions_base", ["base_model_id", "base_number"], unique=False)
        batch_op.create_index("ix_versions_calibration_logits_digest", ["calibration_logits_digest"], unique=False)
        batch_op.create_index("ix_versions_calibration_rows_digest", ["calibration_rows_digest"], unique=False)
        batch_op.create_index("ix_versions_dataset_id", ["dataset_id"], unique=False)
        batch_op.create_index("ix_versions_job_id", ["job_id"], unique=False)
        batch_op.create_index("ix_versions_manifest_digest", ["manifest_digest"], unique=False)
        batch_op.create_index("ix_versions_purge_at", ["purge_at"], unique=False)

    op.create_table(
        "aliases",
        sa.Column("model_id", sa.String(length=63), nullable=False),
        sa.Column("alias", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("traffic", sa.JSON(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id", "number"], ["versions.model_id", "versions.number"], name="fk_aliases_model_id_versions"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_aliases_model_id_models"),
        sa.PrimaryKeyConstraint("model_id", "alias", name="pk_aliases"),
    )
    op.create_table(
        "training_job_events",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["training_jobs.id"], name="fk_training_job_events_job_id_training_jobs"),
        sa.PrimaryKeyConstraint("job_id", "sequence", name="pk_training_job_events"),
    )
    op.create_table(
        "training_job_checkpoints",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["training_jobs.id"], name="fk_training_job_checkpoints_job_id_training_jobs"
        ),
        sa.PrimaryKeyConstraint("job_id", "step", name="pk_training_job_checkpoints"),
    )
    with op.batch_alter_table("training_job_checkpoints", schema=None) as batch_op:
        batch_op.create_index("ix_training_job_checkpoints_digest", ["digest"], unique=False)

    op.create_table(
        "version_metrics",
        sa.Column("model_id", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id", "number"],
            ["versions.model_id", "versions.number"],
            name="fk_version_metrics_model_id_versions",
        ),
        sa.PrimaryKeyConstraint("model_id", "number", "name", name="pk_version_metrics"),
    )
    with op.batch_alter_table("version_metrics", schema=None) as batch_op:
        batch_op.create_index("ix_version_metrics_value", ["model_id", "name", "value", "number"], unique=False)

    op.create_table(
        "version_stages",
        sa.Column("model_id", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id", "number"], ["versions.model_id", "versions.number"], name="fk_version_stages_model_id_versions"
        ),
        sa.PrimaryKeyConstraint("model_id", "number", "position", name="pk_version_stages"),
    )
    with op.batch_alter_table("version_stages", schema=None) as batch_op:
        batch_op.create_index("ix_version_stages_digest", ["digest"], unique=False)

    op.create_table(
        "version_tags",
        sa.Column("model_id", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key", sa.String(length=63), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id", "number"], ["versions.model_id", "versions.number"], name="fk_version_tags_model_id_versions"
        ),
        sa.PrimaryKeyConstraint("model_id", "number", "key", name="pk_version_tags"),
    )
    with op.batch_alter_table("version_tags", schema=None) as batch_op:
        batch_op.create_index("ix_version_tags_key", ["model_id", "key", "value", "number"], unique=False)
    op.create_table(
        "leases",
        sa.Column("work", sa.String(length=63), nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("work", name="pk_leases"),
    )
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
