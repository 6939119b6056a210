"""The application: options of every command, dispatch, and what each error becomes on the way out."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError

import sessionledger
from sessionledger.cli import (
    archives,
    commands,
    database_commands,
    demo,
    exporting,
    importing,
    sources,
    usage,
    verification,
)
from sessionledger.cli.context import Context, Declined, UsageError, report_error
from sessionledger.domain.errors import UPGRADE_COMMAND, InvalidInputError, SessionLedgerError, StorageError

app = App(
    name="sessionledger",
    help="The durable record of conversations with AI agents.",
    help_epilogue="Try it with invented conversations: sessionledger demo",
    help_format="plaintext",
    version=lambda: str(sessionledger.__version__),
)
app.meta.suppress_keyboard_interrupt = False
app.meta.group_parameters = Group("Options of every command", sort_key=100)

COMMANDS: dict[str, Callable[..., None]] = {
    "list": commands.list_sessions,
    "show": commands.show,
    "new": commands.new,
    "append": commands.append,
    "delete": commands.delete,
    "usage": usage.usage,
    "export": exporting.export,
    "import": importing.import_files,
    "verify": verification.verify,
    "demo": demo.demo,
}
for name, command in COMMANDS.items():
    app.command(command, name=name)
app.command(archives.app)
app.command(database_commands.app)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    database: str | None = None,
    namespace: str = "default",
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Run one command with the options that every command has.

    Args:
        tokens: The command and its own arguments.
        database: The database's URL, e.g. sqlite:///agent.db or postgresql://host/name. By default that in
            SESSIONLEDGER_DATABASE_URL, else an SQLite file in your data folder.
        namespace: The tenant whose sessions are meant.
        json: Print JSON for machines.
    """
    context = Context(given_url=database, namespace=namespace, json=json)
    call, bound, ignored = app.parse_args(tokens, print_error=False, exit_on_error=False)
    given = {"context": context} if "context" in ignored else {}
    for name, value in bound.arguments.items():
        if value == HYPHEN:
            bound.arguments[name] = "-"
        elif isinstance(value, tuple):
            bound.arguments[name] = tuple("-" if each == HYPHEN else each for each in value)
    try:
        call(*bound.args, **bound.kwargs, **given)
    except StorageError as error:
        if database:  # the advice must reach the same database
            error.args = (error.args[0].replace(UPGRADE_COMMAND, f"{UPGRADE_COMMAND} --database {database}"),)
        raise


def run(arguments: Sequence[str]) -> int:
    """Run one command; every expected error becomes one line on standard error and an exit code."""
    try:
        app.meta(_marked(arguments), print_error=False, exit_on_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _failed(f"{_told(error)} See: {_help_command(error)}", 2)
    except (UsageError, InvalidInputError) as error:
        return _failed(str(error), 2)
    except (SessionLedgerError, Declined) as error:
        return _failed(str(error), 1)
    except ImportError as error:
        if (line := sources.expected(error)) is None:
            raise
        return _failed(line, 1)
    except BrokenPipeError:
        _forget_output()
        return 1
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:
            _forget_output()
        return _failed(str(sources.expected(error)), 1)
    except KeyboardInterrupt:
        return _failed("interrupted", 1)
    return 0


HYPHEN = "\0"
"""Stands for a lone hyphen while cyclopts parses: it would take it for an option, and an argument that may begin with a
hyphen would swallow the options that follow. No argument of a process can hold NUL."""


def _marked(arguments: Sequence[str]) -> list[str]:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [HYPHEN if each == "-" and at < end else each for at, each in enumerate(arguments)]


def _failed(text: str, status: int) -> int:
    report_error(text)
    return status


def _told(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):  # its own text quotes them, and they may be a message without quotes
        return f"{len(error.unused_tokens or ())} argument(s) too many; put a text with spaces into quotes."
    return " ".join(str(error).replace(HYPHEN, "-").split())


def _help_command(error: CycloptsError) -> str:
    return " ".join(["sessionledger", *(error.command_chain or ()), "--help"])


def _forget_output() -> None:
    """Let the interpreter's last flush go nowhere: what cannot be written now cannot be written then."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # no file behind it
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
