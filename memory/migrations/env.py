"""Run by Alembic: migrate the connection that memory/migrate.py hands over, inside its transaction."""

from alembic import context

from memory.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
