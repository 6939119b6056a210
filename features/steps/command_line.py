"""The command line, called in this process where it can be, so that its coverage counts, and as a process where not."""

import gzip
import io
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from unittest import mock

from behave import given, then, when
from rich.cells import cell_len

import sessionledger
from sessionledger.application.services import PersistentSessionService
from sessionledger.cli import main, transfer, words
from sessionledger.cli.context import data_folder
from sessionledger.domain import openai_chat
from sessionledger.domain.models import TokenUsage, now
from sessionledger.infrastructure.database.revision import EXPECTED

ULID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SYSTEM_PROMPT = "\n".join(f"Rule {number}" for number in range(1, 10))


def call(number, name, /, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    calls = [{"id": f"call_{number}", "type": "function", "function": function}]
    return {"role": "assistant", "content": None, "tool_calls": calls}


CONVERSATIONS = [
    {
        "task": number,
        "trial": 1,
        "turns": [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": [{"type": "text", "text": f"Journey {number}, please: ü, 日本, \u0000"}]},
            call(number, "find_trains", origin="Lisbon", destination="Madrid", travellers=2),
            {"role": "tool", "tool_call_id": f"call_{number}", "name": "find_trains", "content": '{"trains": [335]}'},
            {
                "role": "assistant",
                "content": "There is one:\n\n1. **N 335**, at night\n- nothing else",
                "refusal": None,
            },
        ],
    }
    for number in (1, 2, 3)
]


TITLE = "x" * 120


class Stream(io.TextIOWrapper):
    """A standard stream in memory that may say it is a terminal."""

    def __init__(self, content=b"", encoding="utf-8", terminal=False):
        super().__init__(io.BytesIO(content), encoding=encoding, newline="")
        self._terminal = terminal

    def isatty(self):
        return self._terminal

    @property
    def written(self):
        self.flush()
        return self.buffer.getvalue()


@dataclass
class Outcome:
    status: int
    raw: bytes
    err: str

    @property
    def out(self):
        return ESCAPES.sub("", self.raw.decode())

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def json(self):
        return json.loads(self.out)


class CommandLine:
    """The command line as one user has it: an environment, a folder for files, and the session last made."""

    def __init__(self, context):
        self.world = context.world
        self.folder = Path(self.world.stack.enter_context(tempfile_folder()))
        self.file = self.folder / "files" / "session.archive"
        self.file.parent.mkdir()
        self.conversations = self.folder / "conversations.json"
        self.recorded = context.conversations_file
        self.environment = {"SESSIONLEDGER_DATABASE_URL": self.world.url, "HOME": str(self.folder)}
        self.other = None
        self.session = None
        self.outcome = None

    def filled(self, text):
        cursor = re.search(r'"next_cursor": "(\S+)"', self.outcome.out) if self.outcome else None
        names = {
            "SESSION": self.session,
            "FILE": self.file,
            "FOLDER": self.folder,
            "DEEP": "[" * 100_000,
            "CONVERSATIONS": self.conversations,
            "RECORDED": self.recorded,
            "REVISION": EXPECTED,
            "CURSOR": cursor[1] if cursor else None,
        }
        return re.sub(rf"\b({'|'.join(names)})\b", lambda found: str(names[found[1]]), text)

    def words(self, text):
        return shlex.split(self.filled(text))

    def run(self, text, given=b"", terminal=False, width=100, encoding="utf-8", url=None):
        streams = {"stdin": Stream(given, terminal=terminal)}
        streams |= {name: Stream(encoding=encoding, terminal=terminal) for name in ("stdout", "stderr")}
        environment = os.environ | self.environment | {"TERM": "xterm-256color", "COLUMNS": str(width)}
        if url:
            environment["SESSIONLEDGER_DATABASE_URL"] = url
        for name in {"SESSIONLEDGER_DATABASE_URL", "XDG_DATA_HOME"} - (
            self.environment.keys() | ({"SESSIONLEDGER_DATABASE_URL"} if url else set())
        ):
            environment.pop(name, None)
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, environment, clear=True))
            for name, stream in streams.items():
                stack.enter_context(mock.patch.object(sys, name, stream))
            status = main(self.words(text))
        err = ESCAPES.sub("", streams["stderr"].written.decode())
        self.outcome = Outcome(status, streams["stdout"].written, err)

    def run_process(self, text, given=b"", stdout=subprocess.PIPE, program=("-m", "sessionledger")):
        done = subprocess.run(
            [sys.executable, *program, *self.words(text)],
            env=os.environ | self.environment | {"PYTHONUNBUFFERED": ""},
            input=given,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )
        self.outcome = Outcome(done.returncode, done.stdout or b"", done.stderr.decode())

    def sessions(self):
        return self.world.service.list(limit=1000, order="oldest").sessions


def tempfile_folder():
    import tempfile

    return tempfile.TemporaryDirectory(prefix="sessionledger-command-line-")


@given("the command line is set to the database")
def set_to_database(context):
    context.line = CommandLine(context)


@given("an empty database")
def empty_database(context):
    context.line.environment["SESSIONLEDGER_DATABASE_URL"] = context.world.empty()


@given('a session with the title "{title}"')
def session_titled(context, title):
    context.line.session = context.world.service.create(title=title, actor_name="desk").session_id


@given('a session with the title "{title}" that is archived')
def session_archived(context, title):
    session_titled(context, title)
    context.world.service.update(context.line.session, archived=True)


@given('a session with the title "{title}" and token usage')
def session_with_usage(context, title):
    session_titled(context, title)
    context.world.service.update_token_usage(
        context.line.session, input_tokens=1200, output_tokens=30, cached_input_tokens=7, reasoning_tokens=5, cost=1
    )


@given('a message "{text}" in it')
def message_in_it(context, text):
    context.world.service.append_message(context.line.session, "user", text)


@given("a session with messages of every shape")
def every_shape(context):
    session_titled(context, "Every shape")
    tool = {"role": "tool", "content": "Error: no such train", "tool_call_id": "call_1"}
    listed = {f"a long name {number}": number for number in range(40)}
    messages = [
        ("user", "", "text"),
        ("user", "\n".join(f"line {number}" for number in range(200)), "text"),
        ("user", "word " * 5000, "text"),
        ("system", "word " * 5000, "text"),
        ("planner", {"any": ["thing", 1]}, "my.format"),
        ("user", [{"type": "text", "text": "Look"}, {"type": "image", "url": "a.png"}, {"type": "text"}], "parts"),
        ("user", [], "parts"),
        ("tool", tool, "openai.chat"),
        ("tool", tool | {"content": [{"type": "text", "text": "42"}]}, "openai.chat"),
        ("tool", tool | {"content": "[" * 5000}, "openai.chat"),
        ("tool", tool | {"content": "x" * 3_000_000, "name": "big"}, "openai.chat"),
        ("tool", tool | {"content": "y" * 3_000, "name": "less"}, "openai.chat"),
        (
            "assistant",
            call(1, "count", listed=list(range(99)), named=listed, few={"a": "b" * 99}, text="c" * 99, number=10**39),
            "openai.chat",
        ),
        (
            "assistant",
            {"role": "assistant", "tool_calls": [{"function": {"name": None, "arguments": "no JSON"}}, 7]},
            "openai.chat",
        ),
        ("assistant", {"role": "assistant", "tool_calls": [{"function": {}}], "refusal": "no"}, "openai.chat"),
    ]
    for role, content, form in messages:
        context.world.service.append_message(context.line.session, role, content, format=form)


@given('the imported conversations of "conversations.json"')
def imported_conversations(context):
    write_conversations(context, "JSON array")
    context.line.run("import CONVERSATIONS --format openai-chat --messages-key turns --actor travel-desk")
    context.line.session = context.line.sessions()[0].session_id


@given('the file holds "{text}"')
def file_holds(context, text):
    context.line.file.write_text(text)


@given("a home of its own and no database")
def own_home(context):
    del context.line.environment["SESSIONLEDGER_DATABASE_URL"]


@when("I run: {arguments}")
def run(context, arguments):
    context.line.run(arguments)
    if arguments.startswith("new") and context.line.outcome.status == 0 and "--json" not in arguments:
        context.line.session = context.line.outcome.out.strip()


@when("I run on a terminal: {arguments}")
def run_on_terminal(context, arguments):
    context.line.run(arguments, terminal=True)


@when("I run on a terminal {width:d} wide: {arguments}")
def run_on_wide_terminal(context, width, arguments):
    context.line.run(arguments, terminal=True, width=width)


@when('I run on a terminal, answering "{answer}": {arguments}')
def run_answering(context, answer, arguments):
    context.line.run(arguments, terminal=True, given=f"{answer}\n".encode())


@when("I run with standard output on a terminal: {arguments}")
def run_with_terminal(context, arguments):
    context.line.run(arguments, terminal=True)


@when("I run on an output that is ASCII: {arguments}")
def run_on_ascii(context, arguments):
    context.line.run(arguments, encoding="ascii")


@when('I run with "{text}" on standard input: {arguments}')
def run_with_input(context, text, arguments):
    context.line.run(arguments, given=text.replace("\\n", "\n").encode())


@when("I run with the byte {value:d} on standard input: {arguments}")
def run_with_byte(context, value, arguments):
    context.line.run(arguments, given=bytes([value]))


@when("I run with that output on standard input, on a fresh database: {arguments}")
def run_with_output(context, arguments):
    context.line.run(arguments, given=context.line.outcome.raw, url=context.world.fresh())


@when("I run on a fresh database: {arguments}")
def run_elsewhere(context, arguments):
    context.line.other = context.world.fresh()
    context.line.run(arguments, url=context.line.other)


@when("I run again there: {arguments}")
def run_there(context, arguments):
    context.line.run(arguments, url=context.line.other)


@when("I run on a database that cannot be reached: {arguments}")
def run_nowhere(context, arguments):
    nowhere = {
        "sqlite": f"sqlite:///{context.line.folder}/missing/ledger.db",
        "postgresql": "postgresql://somebody:hunter2@127.0.0.1:1/ledger",  # nothing listens there
    }
    context.line.run(arguments, url=nowhere[context.world.kind.name])


@when("I run as a process: {arguments}")
def run_process(context, arguments):
    context.line.run_process(arguments)


@when("I run as a process that writes to a full device: {arguments}")
def run_full(context, arguments):
    with Path("/dev/full").open("wb") as full:
        context.line.run_process(arguments, stdout=full)


@when("I run as a process whose reader goes away: {arguments}")
def run_closed(context, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        context.line.run_process(arguments, stdout=closed)


@when("I run as a process without {module:w}: {arguments}")
def run_without(context, module, arguments):
    code = f"import sys; sys.modules[{module!r}] = None; from sessionledger.cli import main; sys.exit(main())"
    context.line.run_process(arguments, program=("-c", code))


@when("one byte of the file is changed")
def change_byte(context):
    content = bytearray(context.line.file.read_bytes())
    content[len(content) // 2] ^= 1
    context.line.file.write_bytes(content)


@when("the conversations are written as {form}")
def write_conversations(context, form):
    lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in CONVERSATIONS]
    array = json.dumps(CONVERSATIONS, indent=1).encode()
    context.line.conversations.write_bytes(
        {
            "JSON array": array,
            "JSON Lines": "".join(lines).encode(),
            "gzip JSON array": gzip.compress(array),
            "gzip JSON Lines": gzip.compress("".join(lines).encode()),
            "two gzip members": gzip.compress(lines[0].encode()) + gzip.compress("".join(lines[1:]).encode()),
            "UTF-8 with a mark": b"\xef\xbb\xbf" + array,
            "indented JSON array": b" \n " + json.dumps(CONVERSATIONS, indent=4).encode() + b"\n\n",
            "a big file": json.dumps([each | {"log": "ß" * 200_000} for each in CONVERSATIONS]).encode(),
            "one big value": json.dumps([CONVERSATIONS[0] | {"log": "x" * 70_000}]).encode(),
            "twelve big values": json.dumps(
                [CONVERSATIONS[0] | {f"log {n}": "x" * 70_000 for n in range(12)}]
            ).encode(),
        }[form]
    )


@when("a file of conversations holds: {text}")
def conversations_hold(context, text):
    context.line.conversations.write_text("" if text == "nothing" else text.replace("TITLE", TITLE))


@when("a file of conversations is {state}")
def conversations_are(context, state):
    context.line.conversations.write_bytes(
        {
            "no UTF-8": b'{"messages":[],"a":"\xff"}',
            "cut UTF-8": b'{"messages":[]}\xc3',
            "cut gzip": gzip.compress(json.dumps({"messages": []}).encode())[:-12],
            "a gzip bomb": gzip.compress(b" " * 40_000_000),
            "nested too deeply": b'{"messages":[' + b"[" * 100_000,
            "too deep metadata": b'{"messages":[],"a":' + b"[" * 70 + b"]" * 70 + b"}",
            "too deep": b'{"messages":[{"role":"user","content":' + b"[" * 70 + b"]" * 70 + b"}]}",
        }[state]
    )


@when("I run with that file on standard input: {arguments}")
def run_with_file(context, arguments):
    context.line.run(arguments, given=context.line.conversations.read_bytes())


@when("conversations may have {count:d} bytes at most")
def limit_bytes(context, count):
    for module in (openai_chat, transfer):
        context.world.stack.enter_context(mock.patch.object(module, "MAX_BYTES", count))


@when("a conversation may have {count:d} bytes at most")
def limit_conversation(context, count):
    context.world.stack.enter_context(mock.patch.object(openai_chat, "MAX_CONVERSATION", count))


@when("I run while the file changes: {arguments}")
def run_while_changing(context, arguments):
    append = PersistentSessionService.append_messages

    def changing(self, *given, **named):
        with context.line.conversations.open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"0")
        return append(self, *given, **named)

    with mock.patch.object(PersistentSessionService, "append_messages", changing):
        context.line.run(arguments)


@when("three messages are appended to the session that is not whole")
def append_three(context):
    session = context.line.sessions()[1]
    context.world.service.append_messages(session.session_id, [{"role": "user", "content": "more"}] * 3)


@when("an import of them is killed after 1 session and 2 messages of the next")
def killed_import(context):
    append = PersistentSessionService.append_messages
    left = [4]  # calls of two messages each: three for the first session, one for the second

    def killed(self, *arguments, **named):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return append(self, *arguments, **named)

    with (
        mock.patch.object(PersistentSessionService, "append_messages", killed),
        mock.patch.object(transfer, "BATCH", 2),
    ):
        context.line.run("import CONVERSATIONS --format openai-chat --messages-key turns")
    assert (context.line.outcome.status, context.line.outcome.err) == (1, "sessionledger: interrupted\n")
    assert [each.last_sequence for each in context.line.sessions()] == [5, 2]


def told(context):
    outcome = context.line.outcome
    return f"exit code {outcome.status}\n{outcome.out}\n{outcome.err}"


@then("it ends well")
def ends_well(context):
    ends(context, 0)


@then("it ends with {status:d}")
def ends(context, status):
    assert context.line.outcome.status == status, told(context)


@then("it ends well and says: {text}")
def ends_well_saying(context, text):
    ends(context, 0)
    says(context, text)


@then("it ends with {status:d} and says: {text}")
def ends_saying(context, status, text):
    ends(context, status)
    assert "sessionledger: " in context.line.outcome.err, told(context)
    says(context, text)
    assert not context.line.outcome.out, told(context)


@then("standard error says: {text}")
def says(context, text):
    assert context.line.filled(text) in context.line.outcome.err, told(context)


@then("it ends well and prints: {text}")
def ends_printing(context, text):
    ends(context, 0)
    pattern = re.escape(context.line.filled(text))
    pattern = re.sub(r"\bID\b", ULID, pattern)
    assert re.fullmatch(pattern, context.line.outcome.out.rstrip("\n")), told(context)


@then("it ends well and prints the id of a session")
def prints_id(context):
    ends(context, 0)
    assert context.world.service.get(context.line.outcome.out.strip()), told(context)


@then("it ends well and prints the version")
def prints_version(context):
    ends_printing(context, sessionledger.__version__)


@then("it prints a line with: {text}")
def prints_line(context, text):
    assert any(context.line.filled(text) in line for line in context.line.outcome.lines), told(context)


@then("it prints no line with: {text}")
def prints_no_line(context, text):
    assert not any(text in line for line in context.line.outcome.lines), told(context)


@then("no line is longer than {width:d}")
def no_longer(context, width):
    assert max(map(cell_len, context.line.outcome.lines)) <= width, told(context)


@then("it prints JSON with the keys: {keys}")
def prints_json(context, keys):
    ends(context, 0)
    assert list(context.line.outcome.json) == keys.split(", "), told(context)
    assert len(context.line.outcome.lines) == 1, told(context)


@then("the value of {key:w} is the string {text}")
def value_is_string(context, key, text):
    assert context.line.outcome.json[key] == text, told(context)


@then("the value of {key:w} is {number:d}")
def value_is(context, key, number):
    assert context.line.outcome.json[key] == number, told(context)


@then("the JSON holds that content")
def json_holds(context):
    ends(context, 0)
    assert context.line.outcome.json["messages"][0]["content"] == "lone \ud800 surrogate, NUL \0, ß", told(context)


@then("the titles listed are: {titles}")
def titles_listed(context, titles):
    ends(context, 0)
    assert [each["title"] for each in context.line.outcome.json["sessions"]] == titles.split(", "), told(context)


@then("the titles listed are none")
def no_titles(context):
    ends(context, 0)
    assert context.line.outcome.json == {"sessions": [], "next_cursor": None}, told(context)


@then("{count:d} sessions are listed")
def sessions_listed(context, count):
    assert len(context.line.outcome.json["sessions"]) == count, told(context)


@then('message {sequence:d} of the session is "{text}"')
def message_is(context, sequence, text):
    assert context.world.service.get_messages(context.line.session)[sequence - 1].content == text


@then("every message equals the one in the file, with its tool call's id")
def messages_equal(context):
    sessions = context.line.sessions()
    assert len(sessions) == len(CONVERSATIONS)
    for session, conversation in zip(sessions, CONVERSATIONS, strict=True):
        messages = context.world.service.get_messages(session.session_id)
        assert [each.content for each in messages] == conversation["turns"]
        assert [each.role for each in messages] == [each["role"] for each in conversation["turns"]]
        assert [each.tool_call_id for each in messages] == [each.get("tool_call_id") for each in conversation["turns"]]
        assert {each.format for each in messages} == {"openai.chat"}
        assert session.metadata == {"task": conversation["task"], "trial": 1}
        assert session.title == f"Journey {conversation['task']}, please: ü, 日本, "


@then("the first session's metadata has the keys: {keys}")
def metadata_keys(context, keys):
    assert sorted(context.line.sessions()[0].metadata) == keys.split(", ")


@then("the second session has all its messages, and the three")
def all_and_three(context):
    messages = context.world.service.get_messages(context.line.sessions()[1].session_id)
    assert [each.content for each in messages if each.content != "more"] == CONVERSATIONS[1]["turns"]
    assert len(messages) == len(CONVERSATIONS[1]["turns"]) + 3


@then("the sessions' titles are the first 99 characters of the title, nothing and nothing")
def titles_are(context):
    assert [each.title for each in context.line.sessions()] == [f"{TITLE[:99]}…", None, None]


@then("nothing was stored")
def nothing_stored(context):
    assert context.line.sessions() == ()


@then("the file is readable by its owner alone, and nothing else is in its folder")
def file_private(context):
    assert stat.S_IMODE(context.line.file.stat().st_mode) == 0o600
    assert list(context.line.file.parent.iterdir()) == [context.line.file]


@then('the file still holds "{text}", and nothing else is in its folder')
def file_still_holds(context, text):
    assert context.line.file.read_text() == text
    assert list(context.line.file.parent.iterdir()) == [context.line.file]


@then("standard error is one line")
def one_line(context):
    assert len(context.line.outcome.err.splitlines()) == 1, told(context)


@then("standard error is empty")
def no_line(context):
    assert context.line.outcome.err == "", told(context)


@then("nothing printed holds the password")
def no_password(context):
    assert "hunter2" not in told(context), told(context)


@then("the ledger is in the user's data folder, which is the user's alone")
def in_data_folder(context):
    with mock.patch.object(Path, "home", return_value=context.line.folder):
        folder = data_folder({})
    assert (folder / "sessionledger.db").is_file(), list(context.line.folder.rglob("*"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@then('the data folder on {system:w} with {variable:w} set to "{value}" is "{folder}"')
@then('the data folder on {system:w} with {variable:w} set to "" is "{folder}"')
def data_folder_is(context, system, variable, folder, value=""):
    with mock.patch.object(sys, "platform", system):
        found = data_folder({variable: value})
    assert found == Path(folder.replace("HOME", str(Path.home()))), found


@then("the folder it names holds a ledger")
def names_folder(context):
    path = Path(re.search(r"sqlite:///(\S+ledger\.db)", context.line.outcome.lines[-1])[1])
    context.world.stack.callback(lambda: [file.unlink() for file in path.parent.iterdir()] and path.parent.rmdir())
    with sessionledger.connect(f"sqlite:///{path}") as sessions:
        assert len(sessions.list()) == 2


@then("/dev/null is still a device")
def still_device(context):
    assert Path("/dev/null").is_char_device()


@then('{amount} of {what:w} is told as "{told}"')
def told_as(context, amount, what, told):
    found = {
        "seconds": lambda: words.ago(now() - timedelta(seconds=float(amount)), now()),
        "bytes": lambda: words.size(int(amount)),
        "cost": lambda: words.cost(TokenUsage(cost=Decimal(amount))),
    }[what]()
    assert found == told, found
