"""Run the migrations: for `alembic` on the command line and for `sessionledger`'s own code, under the same lock.

From code, the caller's connection comes in `config.attributes["connection"]`; on the command line the URL comes from
`-x url=…` or from SESSIONLEDGER_DATABASE_URL, and `-x allow-data-loss=yes` lets a downgrade lose rows.
"""

from __future__ import annotations

import logging.config
import os

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection

from sessionledger.domain.errors import SessionLedgerError
from sessionledger.infrastructure.database import dialects, revision, schema
from sessionledger.infrastructure.database.engine import Database
from sessionledger.infrastructure.database.tables import METADATA, add_options

add_options()
config = context.config
common = {
    "target_metadata": METADATA,
    "version_table": revision.VERSION_TABLE,
    "transaction_per_migration": True,
    "transactional_ddl": True,  # SQLite's is too, once the transaction is begun by hand
    "compare_type": True,
    "compare_server_default": True,
}


def command_line_url() -> str:
    url = context.get_x_argument(as_dictionary=True).get("url") or os.environ.get("SESSIONLEDGER_DATABASE_URL")
    if not url:
        raise CommandError("Name the database: alembic -x url=…, or SESSIONLEDGER_DATABASE_URL.")
    return url


def target_of_downgrade() -> str | None:
    """What a downgrade goes back to; `None` if this is none."""
    typed = config.cmd_opts
    if typed is not None and typed.cmd[0].__name__ == "downgrade":
        return typed.revision
    return config.attributes.get("downgrade_to")


def migrate(connection: Connection) -> None:
    revision.upgradable(connection)  # refuses a database that is newer, or not ours
    connection.rollback()
    with schema.locked(connection):
        if target := target_of_downgrade():
            schema.refuse_losses(connection, target)
        context.configure(connection=connection, **common)
        with context.begin_transaction():
            context.run_migrations()


if config.config_file_name:
    logging.config.fileConfig(config.config_file_name, disable_existing_loggers=False)
    if context.get_x_argument(as_dictionary=True).get("allow-data-loss") == "yes":
        config.attributes["allow_data_loss"] = True

if context.is_offline_mode():
    url = config.attributes.get("url") or dialects.checked_url(command_line_url())
    context.configure(url=url, literal_binds=True, dialect_opts={"paramstyle": "named"}, **common)
    if beside := dialects.dialect_of(context.get_context()).beside:
        for limit in schema.limits(beside):
            context.execute(limit)
    with context.begin_transaction():
        context.run_migrations()
elif "connection" in config.attributes:
    migrate(config.attributes["connection"])
else:
    try:
        database = Database(command_line_url())
        dialects.create_file(database.engine)
        schema.on_connection(database, migrate)
        database.close()
    except SessionLedgerError as error:  # one line on the terminal, no traceback
        raise CommandError(str(error)) from None
