"""What a command of the command line printed, and how it ended."""

import json
import re
import stat
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from unittest import mock

from behave import then
from rich.cells import cell_len

import sessionledger
from command_lines import ULID, told
from sessionledger.cli import values, words
from sessionledger.cli.context import UsageError, data_folder
from sessionledger.domain.models import TokenUsage, now


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


@then("it prints the row: {text}")
def prints_row(context, text):
    rows = [line.split() for line in context.line.outcome.lines]
    assert text.split() in rows, told(context)


def holds(found, expected):
    """Whether a JSON value is as expected; objects may have more keys."""
    if isinstance(expected, dict):
        return all(key in found and holds(found[key], value) for key, value in expected.items())
    return found == expected


@then("the JSON has: {values}")
def json_has(context, values):
    ends(context, 0)
    assert holds(context.line.outcome.json, json.loads(values)), told(context)


@then("the entry of {key:w} with the {name:w} {value:w} has: {values}")
def entry_has(context, key, name, value, values):
    [entry] = [each for each in context.line.outcome.json[key] if each[name] == (None if value == "null" else value)]
    assert holds(entry, json.loads(values)), told(context)


@then("the JSON tells its source: {session} and the digest of the file")
def tells_source(context, session):
    digest = json.loads(context.line.file.read_bytes().splitlines()[-1])["sha256"]
    source = {"session_id": context.line.filled(session), "sha256": digest}
    assert context.line.outcome.json["session"]["source"] == source, told(context)


@then("--since {text} at noon of 2027-03-12 in UTC means {time}")
def time_means(context, text, time):
    with mock.patch.object(values, "now", return_value=datetime(2027, 3, 12, 12, tzinfo=UTC)):
        try:
            found = f"{values.time('--since', text):%Y-%m-%d %H:%M:%S}"
        except UsageError:
            found = "refused"
    assert found == time, found


@then("it prints {count:d} lines")
def prints_lines(context, count):
    assert len(context.line.outcome.lines) == count, told(context)


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
    assert context.line.outcome.json[key] == context.line.filled(text), told(context)


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


@then("nothing was stored")
def nothing_stored(context):
    assert context.line.sessions() == ()


@then("standard error is one line")
def one_line(context):
    assert len(context.line.outcome.err.splitlines()) == 1, told(context)


@then("standard error has {count:d} lines")
def lines_of_error(context, count):
    assert len(context.line.outcome.err.splitlines()) == count, told(context)


@then("standard error has a line with: {texts}")
def line_of_error(context, texts):
    wanted = texts.split(", ")
    assert any(all(text in line for text in wanted) for line in context.line.outcome.err.splitlines()), told(context)


@then("standard error does not say: {text}")
def does_not_say(context, text):
    assert context.line.filled(text) not in context.line.outcome.err, told(context)


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


@then('{amount} of {what:w} is told as "{told}"')
def told_as(context, amount, what, told):
    found = {
        "seconds": lambda: words.ago(now() - timedelta(seconds=float(amount)), now()),
        "bytes": lambda: words.size(int(amount)),
        "duration": lambda: words.seconds(float(amount)),
        "cost": lambda: words.cost(TokenUsage(cost=Decimal(amount))),
    }[what]()
    assert found == told, found
