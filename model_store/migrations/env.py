"""Alembic's entry: run the migrations on the connection that `Database.migrate` passes in."""

from alembic import context

from model_store.tables import Row

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Row.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
