"""The command line, called in this process where it can be, so that its coverage counts, and as a process where not."""

import os
from decimal import Decimal
from pathlib import Path

from behave import given, when

from command_lines import CommandLine, told, tool_call


@given("the command line is set to the database")
def set_to_database(context):
    context.line = CommandLine(context)


@given("an empty database")
def empty_database(context):
    context.line.environment["SESSIONLEDGER_DATABASE_URL"] = context.world.empty()


@given('a session with the title "{title}"')
def session_titled(context, title):
    context.line.session = context.world.service.create(title=title, actor_name="desk").session_id
    context.line.made.append(context.line.session)


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
            tool_call(
                1, "count", listed=list(range(99)), named=listed, few={"a": "b" * 99}, text="c" * 99, number=10**39
            ),
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


@given("these records of token usage:")
def records_of_usage(context):
    service, made = context.world.service, {}
    for row in context.table:
        if row["session"] not in made:
            session = service.create(title=row["session"], actor_name=row["actor"] or None)
            made[row["session"]] = session.session_id
        service.update_token_usage(
            made[row["session"]],
            input_tokens=int(row["input"]),
            output_tokens=int(row["output"] or 0),
            cost=Decimal(row["cost"]) if row["cost"] else None,
            model=row["model"] or None,
        )
    context.line.made = list(made.values())


@given("a home of its own and no database")
def own_home(context):
    del context.line.environment["SESSIONLEDGER_DATABASE_URL"]


@when("I run: {arguments}")
def run(context, arguments):
    context.line.run(arguments)
    remember_new(context, arguments)


def remember_new(context, arguments):
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


@when("I run on a fresh database: {arguments}")
def run_elsewhere(context, arguments):
    context.line.other = context.world.fresh()
    run_there(context, arguments)


@when("I run again there: {arguments}")
def run_there(context, arguments):
    context.line.run(arguments, url=context.line.other)
    remember_new(context, arguments)


@when("I run on a terminal there {width:d} wide: {arguments}")
def run_there_on_terminal(context, width, arguments):
    context.line.run(arguments, url=context.line.other, terminal=True, width=width)


@when("the imported session is meant")
def imported_is_meant(context):
    context.line.session = context.line.outcome.json["session"]["session_id"]


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


@when("I run as a process without {modules}: {arguments}")
def run_without(context, modules, arguments):
    missing = ", ".join(f"{each!r}: None" for each in modules.split(" and "))
    code = f"import sys; sys.modules |= {{{missing}}}; from sessionledger.cli import main; sys.exit(main())"
    context.line.run_process(arguments, program=("-c", code))


@when("I run as a pipe: {first} | {second}")
def run_pipe(context, first, second):
    context.line.run_process(first)
    assert context.line.outcome.status == 0, told(context)
    context.line.run_process(second, given=context.line.outcome.raw)
