"""`demo`: a tour through the ledger on invented conversations, in a temporary folder.

Every step names the command and the call that do the same.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from sessionledger.cli import render, tables, words
from sessionledger.cli.context import Context
from sessionledger.cli.files import replacing
from sessionledger.domain.content import JSON, OPENAI_CHAT
from sessionledger.domain.errors import ArchiveChecksumError, MessageConflictError
from sessionledger.domain.ids import new_id
from sessionledger.domain.models import NewMessage, Session
from sessionledger.domain.service import SessionService

InContext = Annotated[Context, Parameter(parse=False)]

PARCEL = (
    NewMessage(role="system", content="You help customers of Brightway Parcels. Be brief and kind."),
    NewMessage(role="user", content="Good morning! Where is parcel BW-20418? It should have come on Tuesday."),
    NewMessage(
        role="assistant",
        content="Good morning! It was held back by snow in Linden and left this morning. It should reach you **today "
        "by 16:00**.",
        usage={"input_tokens": 412, "output_tokens": 38, "cost": "0.0011"},
        model="any-model",
    ),
    NewMessage(role="user", content="Great, thank you."),
)


def _call(call_id: str, name: str, arguments: str) -> NewMessage:
    function = {"name": name, "arguments": arguments}
    calls = [{"id": call_id, "type": "function", "function": function}]
    return _said({"role": "assistant", "content": None, "tool_calls": calls})


def _said(item: dict[str, JSON]) -> NewMessage:
    return NewMessage(role=item["role"], content=item, format=OPENAI_CHAT, tool_call_id=item.get("tool_call_id"))


def _answered(call_id: str, name: str, content: str) -> NewMessage:
    return _said({"role": "tool", "tool_call_id": call_id, "name": name, "content": content})


TRAVEL = (
    _said(
        {
            "role": "system",
            "content": "You plan journeys for the customers of Fernhill Travel.\n\nOffer at most three connections.\n"
            "Ask before you book.\nPrices are in euro.\nNever book without a traveller's full name.",
        }
    ),
    _said({"role": "user", "content": "I need a night train from Lisbon to Madrid on 12 March, for two."}),
    _call("call_1", "find_trains", '{"origin":"Lisbon","destination":"Madrid","date":"2027-03-12","travellers":2}'),
    _answered(
        "call_1",
        "find_trains",
        '[{"train":"N 335","departs":"21:25","arrives":"08:40","price":118.0,"berths":4},'
        '{"train":"N 337","departs":"22:50","arrives":"10:05","price":96.5,"berths":1}]',
    ),
    _said(
        {
            "role": "assistant",
            "content": "Two trains run that night:\n\n1. **N 335**, 21:25 to 08:40, 118.00 for two, four berths left\n"
            "2. **N 337**, 22:50 to 10:05, 96.50 for two, but only one berth is left, so you could not travel "
            "together\n\nShall I book N 335?",
        }
    ),
    _said({"role": "user", "content": "Yes please, N 335, for Nora Lind and Tom Lind."}),
    _call("call_2", "book_train", '{"train":"N 335","date":"2027-03-12","travellers":["Nora Lind","Tom Lind"]}'),
    _answered("call_2", "book_train", '{"booking":"FH-7731","seats":["12A","12B"]}'),
    _said({"role": "assistant", "content": "Done: booking **FH-7731**, berths 12A and 12B. Have a good journey!"}),
)


@dataclass(slots=True)
class _Tour:
    """The steps as they are told, and kept for `--json`."""

    context: Context
    steps: list[dict[str, JSON]] = field(default_factory=list)

    def step(self, title: str, command: str, call: str) -> None:
        self.steps.append({"step": title, "command": command, "call": call, "results": []})
        if self.context.json:
            return
        self.context.out.print()
        self._tell(f"{len(self.steps):>2}  ", title, "bold")
        self._tell("    $ ", command, "cyan")
        self._tell("    > ", call, "dim")

    def result(self, text: str) -> None:
        self.steps[-1]["results"].append(text)
        if not self.context.json:
            self._tell("    ", text, "green")

    def picture(self, draw: Callable[[], None]) -> None:
        if not self.context.json:
            draw()

    def _tell(self, start: str, text: str, style: str) -> None:
        if not self.context.pretty:
            self.context.print(f"{start}{text}")
            return
        row = Table.grid()
        row.add_row(Text(start, style=style), Text(text, style=style))
        self.context.out.print(row)


def demo(*, keep: Annotated[bool, Parameter(negative=(), show_default=False)] = False, context: InContext) -> None:
    """Take a tour: invented conversations in a temporary folder, each step with its command and its call.

    Args:
        keep: Leave the folder, to look around in it.
        context: How the command was started.
    """
    import sessionledger

    begun = time.perf_counter()
    tour = _Tour(context)
    with _folder(keep=keep) as folder:
        ledger, second = folder / "ledger.db", folder / "second.db"
        tour.step(
            "A ledger is an SQLite file, made on first use (or a PostgreSQL database)",
            "sessionledger db upgrade --database sqlite:///ledger.db",
            'sessions = sessionledger.connect("sqlite:///ledger.db")',
        )
        with sessionledger.connect(f"sqlite:///{ledger}") as sessions:
            tour.result(f"{ledger}: {words.size(ledger.stat().st_size)}")
            _write(tour, sessions)
            session = _read(tour, sessions)
            _send_again(tour, sessions, session)
            archive = folder / "travel.archive"
            _export(tour, sessions, session, archive)
            with sessionledger.connect(f"sqlite:///{second}") as others:
                _import(tour, sessions, session, others, archive)
                _refuse(tour, others, archive)
        _end(context, tour, folder if keep else None, time.perf_counter() - begun)


def _write(tour: _Tour, sessions: SessionService) -> None:
    tour.step(
        "Make two sessions",
        'sessionledger new --actor parcel-desk --title "Where is parcel BW-20418?"',
        'session = sessions.create(actor_name="parcel-desk", title="Where is parcel BW-20418?")',
    )
    parcel = sessions.create(actor_name="parcel-desk", title="Where is parcel BW-20418?")
    travel = sessions.create(actor_name="travel-desk", title="Night train to Madrid", workspace="spring offers")
    tour.result(f"{parcel.session_id} and {travel.session_id}")
    tour.step(
        "Append messages: a batch is stored whole or not at all, in one order",
        f'sessionledger append {parcel.session_id} "Great, thank you." --role user',
        "sessions.append_messages(session.session_id, messages)",
    )
    for session, messages in ((parcel, PARCEL), (travel, TRAVEL)):
        stored = sessions.append_messages(session.session_id, messages)
        tour.result(f"{session.title}: sequences {stored[0].sequence} to {stored[-1].sequence}")
    tour.step(
        "Add what a call to a model used; the same usage id counts once",
        f'sessionledger append {parcel.session_id} "…" --role assistant --input-tokens 412 --output-tokens 38',
        "sessions.update_token_usage(session_id, input_tokens=1830, output_tokens=164, …, usage_id=usage_id)",
    )
    usage_id = new_id()
    for _ in range(2):  # as after a lost answer
        total = sessions.update_token_usage(
            travel.session_id,
            input_tokens=1830,
            output_tokens=164,
            cached_input_tokens=1024,
            model="any-model",
            usage_id=usage_id,
        )
    tour.result(f"sent twice, counted once: {words.tokens(total)}")


def _read(tour: _Tour, sessions: SessionService) -> Session:
    tour.step("List the sessions", "sessionledger list", "page = sessions.list()")
    page = sessions.list()
    tour.picture(lambda: tables.sessions(tour.context, page.sessions))
    tour.result(words.count(len(page), "session"))
    session = next(each for each in page if each.actor_name == "travel-desk")
    tour.step(
        "Read a conversation",
        f"sessionledger show {session.session_id}",
        "messages = sessions.get_messages(session_id)",
    )
    messages = sessions.get_messages(session.session_id)
    tour.picture(lambda: render.conversation(tour.context, session, messages, full=False))
    tour.result(words.count(len(messages), "message"))
    return session


def _send_again(tour: _Tour, sessions: SessionService, session: Session) -> None:
    message_id = new_id()
    tour.step(
        "Send a message twice, as after a lost connection",
        f'sessionledger append {session.session_id} "Thank you!" --message-id {message_id}',
        "sessions.append_message(session_id, role, content, message_id=message_id)",
    )
    first = sessions.append_message(session.session_id, "user", "Thank you!", message_id=message_id)
    again = sessions.append_message(session.session_id, "user", "Thank you!", message_id=message_id)
    stored = sessions.get(session.session_id).last_sequence
    _hold(first == again and stored == first.sequence, "the message was stored twice")
    tour.result(f"stored once, with sequence {first.sequence}; the second call got the first answer")
    try:
        sessions.append_message(session.session_id, "user", "Something else", message_id=message_id)
    except MessageConflictError:
        tour.result("the same id with other content is an error: MessageConflictError")
    else:
        _hold(False, "other content was accepted under the same id")


def _export(tour: _Tour, sessions: SessionService, session: Session, archive: Path) -> None:
    tour.step(
        "Export a session as a verified archive",
        f"sessionledger export {session.session_id} -o {archive.name}",
        "receipt = sessions.export_session(session_id, file)",
    )
    with replacing(archive) as file:
        receipt = sessions.export_session(session.session_id, file)
    tour.result(words.receipt(receipt))


def _import(tour: _Tour, sessions: SessionService, session: Session, others: SessionService, archive: Path) -> None:
    tour.step(
        "Import it into another database",
        f"sessionledger import {archive.name} --database sqlite:///second.db",
        "session = others.import_session(file)",
    )
    with archive.open("rb") as file:
        imported = others.import_session(file)
    ours = [each.content_sha256 for each in sessions.get_messages(session.session_id)]
    theirs = [each.content_sha256 for each in others.get_messages(imported.session_id)]
    _hold(ours == theirs, "the imported messages differ")
    tour.result(f"{len(theirs)} of {len(ours)} content hashes are equal")
    with archive.open("rb") as file:
        again = others.import_session(file)
    _hold(again.session_id == imported.session_id and len(others.list()) == 1, "the archive was imported twice")
    tour.result("imported again: nothing changes, the first import is found")


def _refuse(tour: _Tour, others: SessionService, archive: Path) -> None:
    damaged = archive.with_name("damaged.archive")
    tour.step(
        "Import an archive with one changed byte",
        f"sessionledger import {damaged.name} --database sqlite:///second.db",
        "others.import_session(file)",
    )
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    try:
        with damaged.open("rb") as file:
            others.import_session(file)
    except ArchiveChecksumError as error:
        tour.result(f"refused, before anything was written: {error}")
    else:
        _hold(False, "a damaged archive was accepted")


def _end(context: Context, tour: _Tour, kept: Path | None, seconds: float) -> None:
    if context.json:
        context.print_json({"steps": tour.steps, "folder": None if kept is None else str(kept)})
        return
    context.out.print()
    context.print(f"That was all, in {seconds:.1f} s.")
    if kept is not None:
        context.print(f"Look around: sessionledger show --database sqlite:///{kept / 'ledger.db'}")
    else:
        context.print("Your own ledger: sessionledger new, then sessionledger append. Every command has --help.")


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    if keep:
        yield Path(mkdtemp(prefix="sessionledger-demo-"))
        return
    with TemporaryDirectory(prefix="sessionledger-demo-") as name:
        yield Path(name)


def _hold(condition: bool, otherwise: str) -> None:
    """The demo shows what is true, or fails."""
    if not condition:
        raise AssertionError(otherwise)
