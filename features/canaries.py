"""Canaries: texts that must not be told, and every place where an error, a log or a value may tell them.

Whatever a scenario hands to the library (content, metadata, titles, keys, passwords) holds `MARK`. What comes out is
searched for it, in the form in which anybody may see it or send it on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import sessionledger

MARK = "kx" + "7q"  # in two parts, because a traceback shows lines of this file
CONTENT, TITLE, NOTE, KEY = (f"{MARK}{word}" for word in ("content", "title", "note", "key"))
CALL, PASSWORD = f"{MARK}call", f"{MARK}password"

OTHERS = ("sqlalchemy", "aiosqlite", "psycopg", "behave")
"""Loggers that are not ours: turned on by an application they tell statements, and aiosqlite's the parameters too."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of error.

    Attributes:
        name: What happens.
        provoke: Makes it happen; it raises, or returns what it has printed.
        expected: What it raises.
    """

    name: str
    provoke: Callable[[], Any]
    expected: type[BaseException] = sessionledger.SessionLedgerError


@dataclasses.dataclass
class Finding:
    """What became of a kind.

    Attributes:
        kind: The kind.
        error: What was raised; `None` where something was returned.
        places: Where the mark was seen.
        records: The log records meanwhile, those of `OTHERS` left out.
    """

    kind: Kind
    error: BaseException | None
    places: list[str]
    records: list[logging.LogRecord]

    @property
    def unexpected(self) -> str | None:
        """What is wrong with it beside a leak."""
        if self.error is None:
            return None if self.kind.expected is str else "nothing was raised"
        return None if isinstance(self.error, self.kind.expected) else f"{type(self.error).__name__} was raised"


def examined(kind: Kind) -> Finding:
    """Make a kind of error happen, with every logger turned on, and look everywhere."""
    error: BaseException | None = None
    with logged() as records:
        try:
            texts = {"result": str(kind.provoke())}
        except Exception as raised:  # noqa: BLE001 - it is what we look at
            error, texts = raised, texts_of(raised)
    for number, record in enumerate(records):
        texts[f"log record {number} of {record.name}"] = told_by(record)
    places = [place for place, text in texts.items() if MARK in text.lower()]
    return Finding(kind, error, places, records)


def texts_of(error: BaseException) -> dict[str, str]:
    """All that anybody may see of an error, causes and contexts included as a traceback shows them."""
    texts = {
        "str": str(error),
        "repr": repr(error),
        "arguments": repr(error.args),
        "facts": repr(vars(error)),
        "notes": repr(getattr(error, "__notes__", [])),
        "traceback": "".join(traceback.format_exception(error)),
        "pickle": pickled(error),
    }
    if error.__cause__ is not None:
        texts |= {f"cause's {place}": text for place, text in texts_of(error.__cause__).items()}
    elif error.__context__ is not None and not error.__suppress_context__:
        texts |= {f"context's {place}": text for place, text in texts_of(error.__context__).items()}
    return texts


def pickled(error: BaseException) -> str:
    """The pickled form, as far as there is one; ours always has one."""
    try:
        return pickle.dumps(error).decode("latin-1")
    except Exception:
        if isinstance(error, sessionledger.SessionLedgerError):
            raise
        return ""


def told_by(record: logging.LogRecord) -> str:
    """A log record as text, with what a structured log would take from it."""
    told = [logging.Formatter("%(name)s %(message)s").format(record), repr(record.args), repr(record.stack_info)]
    usual = vars(logging.makeLogRecord({}))
    told += [repr(value) for name, value in vars(record).items() if name not in usual]
    return "\n".join(told)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(OTHERS):
            self.records.append(record)


@contextlib.contextmanager
def logged(level: int = logging.DEBUG) -> Iterator[list[logging.LogRecord]]:
    """The log records that are written meanwhile, by any logger from this level on."""
    root, kept = logging.getLogger(), _Kept()
    before = root.level
    root.addHandler(kept)
    root.setLevel(level)
    try:
        yield kept.records
    finally:
        root.setLevel(before)
        root.removeHandler(kept)


def printed(call: Callable[[], int]) -> str:
    """What a command says on standard error; it must not end well."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = call()
    assert status in {1, 2}, f"exit code {status}: {said.getvalue()}"
    assert said.getvalue().startswith("sessionledger: "), said.getvalue()
    return said.getvalue()
