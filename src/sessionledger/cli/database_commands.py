"""`db …`: the database's tables."""

from contextlib import closing
from typing import Annotated

from cyclopts import App, Parameter

from sessionledger.cli.context import Context

InContext = Annotated[Context, Parameter(parse=False)]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

app = App(name="db", help="Make, upgrade and check the database's tables.")


@app.command
def upgrade(revision: str = "head", /, *, sql: Flag = False, context: InContext) -> None:
    """Make or upgrade the tables. Any number of deploys may run this at once.

    Args:
        revision: Upgrade up to this revision only.
        sql: Change nothing; print the SQL that would be run on an empty database.
        context: How the command was started.
    """
    from sessionledger.infrastructure.database import schema

    if sql:
        text = schema.sql(context.url, revision)
        if context.json:
            context.print_json({"sql": text})
        else:
            context.out.file.write(text)
        return
    with closing(context.database()) as database:
        schema.upgrade(database, revision)
        _report(context, schema.current(database))


@app.command
def current(*, context: InContext) -> None:
    """Print the revision the tables are at; nothing if there are none.

    Args:
        context: How the command was started.
    """
    from sessionledger.infrastructure.database import schema

    with closing(context.database()) as database:
        revision = schema.current(database)
    if context.json:
        context.print_json({"revision": revision})
    elif revision:
        context.print(revision)
    else:
        context.note("The database has no sessionledger tables.")


@app.command
def verify(*, context: InContext) -> None:
    """Check, changing nothing, that this release can work with the tables' revision; exit code 1 if not.

    Args:
        context: How the command was started.
    """
    from sessionledger.infrastructure.database import schema

    with closing(context.database()) as database:
        schema.verify(database)
        revision = schema.current(database)
    if context.json:
        context.print_json({"revision": revision, "verified": True})
    else:
        context.print(f"The tables are at {revision}, as this release needs them.")


@app.command
def downgrade(revision: str, /, *, allow_data_loss: Flag = False, context: InContext) -> None:
    """Take the tables back to an older revision; refused where rows or values would be lost.

    Args:
        revision: The revision to go back to, or base for no tables at all.
        allow_data_loss: Go back even if rows or values are lost.
        context: How the command was started.
    """
    from sessionledger.infrastructure.database import schema

    with closing(context.database()) as database:
        schema.downgrade(database, revision, allow_data_loss=allow_data_loss)
        _report(context, schema.current(database))


def _report(context: Context, revision: str | None) -> None:
    if context.json:
        context.print_json({"revision": revision})
    else:
        context.print(f"The tables are at {revision}." if revision else "There are no tables any more.")
