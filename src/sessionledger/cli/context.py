"""What every command is given: where the ledger is, whose it is, and where to print.

This is the only place that reads the environment.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from sessionledger.cli.files import private_folder
from sessionledger.domain.content import JSON

if TYPE_CHECKING:
    from sessionledger.application.services import PersistentSessionService
    from sessionledger.infrastructure.database import Database

DATABASE_VARIABLE = "SESSIONLEDGER_DATABASE_URL"
RETRY_SECONDS = 5.0
"""For how long a command tries again while the database is busy or away: a person is waiting."""

_PASSWORD_IN_URL = re.compile(r"(://[^:/?#\s]*):\S*@")
_PASSWORD_IN_QUERY = re.compile(r"([?&](?:password|sslpassword|passfile)=)[^&\s]*", re.IGNORECASE)

_UNPRINTABLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_UNPRINTABLE |= {0x7F: 0x2421} | dict.fromkeys(
    [*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD
)


class UsageError(Exception):
    """The command line asks for something that makes no sense; the text says what to write instead."""


class Declined(Exception):  # noqa: N818 - a person's answer, no error
    """A person was asked and said no."""


@dataclass(frozen=True)
class Context:
    """How a command was started.

    Attributes:
        given_url: The database's URL as given; `None` means the environment's, or the user's own SQLite file.
        namespace: Whose sessions it sees.
        json: Whether it prints JSON for machines.
        out: Standard output.
        err: Standard error.
    """

    given_url: str | None = None
    namespace: str = "default"
    json: bool = False
    out: Console = field(default_factory=lambda: Console(markup=False, highlight=False, emoji=False))
    err: Console = field(default_factory=lambda: Console(stderr=True, markup=False, highlight=False, emoji=False))

    @property
    def url(self) -> str:
        """The database's URL; the folder of the user's own SQLite file is made if it is missing."""
        if given := self.given_url or os.environ.get(DATABASE_VARIABLE):
            return given
        folder = data_folder(os.environ)
        private_folder(folder)
        return f"sqlite:///{folder / 'sessionledger.db'}"

    @property
    def pretty(self) -> bool:
        """Whether a person looks at a terminal."""
        return self.out.is_terminal and not self.json

    def connect(self) -> "PersistentSessionService":
        """Open the ledger."""
        import sessionledger

        return sessionledger.connect(self.url, namespace=self.namespace, retry_seconds=RETRY_SECONDS)

    def database(self) -> "Database":
        """Open the database as it is, whatever its schema."""
        from sessionledger.infrastructure.database import Database

        return Database(self.url, retry_seconds=RETRY_SECONDS)

    def print(self, text: str) -> None:
        """Print a line of text as it is: no wrapping, no colour."""
        print(printable(text), file=self.out.file)

    def print_json(self, value: JSON) -> None:
        """Print one JSON value on one line."""
        text = json.dumps(value, ensure_ascii=False)
        try:
            text.encode(getattr(self.out.file, "encoding", None) or "utf-8")
        except UnicodeEncodeError:  # a lone surrogate, or a terminal that is not UTF-8
            text = json.dumps(value)
        print(text, file=self.out.file)

    def print_rows(self, rows: Iterable[Iterable[object]]) -> None:
        """Print rows as aligned columns, never cut, for whatever reads them next."""
        texts = [[printable(str(cell)).replace("\n", " ") for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        for row in texts:
            self.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def note(self, text: str) -> None:
        """Say something beside the result, on standard error."""
        print(printable(masked(text)), file=self.err.file)

    def ask(self, question: str) -> bool:
        """Ask a person a question with yes or no; no is the default."""
        self.err.print(f"{printable(question)} [y/N] ", end="")
        return sys.stdin.readline().strip().lower() in {"y", "yes"}


def report_error(text: str) -> None:
    """Say in one line on standard error what went wrong."""
    print(f"sessionledger: {printable(masked(text))}", file=sys.stderr)


def data_folder(environment: Mapping[str, str]) -> Path:
    """The folder for a user's own data, by the custom of the operating system."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
        if not base.is_absolute():  # the XDG specification: a relative path is invalid and to be ignored
            base = home / ".local" / "share"
    return base / "sessionledger"


def masked(text: str) -> str:
    """Hide the password of every URL in a text."""
    return _PASSWORD_IN_QUERY.sub(r"\1***", _PASSWORD_IN_URL.sub(r"\1:***@", text))


def printable(text: str) -> str:
    """Make a text from a stranger safe to print: what would steer the terminal is shown as a sign instead."""
    return text.translate(_UNPRINTABLE).encode("utf-8", "replace").decode()
