"""Runs migrations on the connection, and in the transaction, that `database.py` opened."""

from alembic import context

from buildmatrix.store.model import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    version_table="arch_fault_validation_version",
)
context.run_migrations()
