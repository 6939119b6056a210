"""Conversations of others, imported by the command line."""

import gzip
import json
import os
from unittest import mock

from behave import given, then, when

from command_lines import tool_call
from sessionledger.application.services import PersistentSessionService
from sessionledger.cli import conversations
from sessionledger.domain import openai_chat

SYSTEM_PROMPT = "\n".join(f"Rule {number}" for number in range(1, 10))


CONVERSATIONS = [
    {
        "task": number,
        "trial": 1,
        "turns": [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": [{"type": "text", "text": f"Journey {number}, please: ü, 日本, \u0000"}]},
            tool_call(number, "find_trains", origin="Lisbon", destination="Madrid", travellers=2),
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


@given('the imported conversations of "conversations.json"')
def imported_conversations(context):
    write_conversations(context, "JSON array")
    context.line.run("import CONVERSATIONS --format openai-chat --messages-key turns --actor travel-desk")
    context.line.session = context.line.sessions()[0].session_id


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
    context.world.stack.enter_context(mock.patch.object(openai_chat, "MAX_BYTES", count))


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
        mock.patch.object(conversations, "BATCH", 2),
    ):
        context.line.run("import CONVERSATIONS --format openai-chat --messages-key turns")
    assert (context.line.outcome.status, context.line.outcome.err) == (1, "sessionledger: interrupted\n")
    assert [each.last_sequence for each in context.line.sessions()] == [5, 2]


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
