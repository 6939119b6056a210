"""Sessions in the OpenAI chat format, as Markdown and as HTML."""

import base64
import gzip
import hashlib
import json
import re
import time
import tracemalloc
from collections import Counter
from unittest import mock

from behave import given, then, when
from hypothesis import HealthCheck, example, settings
from hypothesis import given as given_values
from hypothesis import strategies as st

import sessionledger
from pages import PICTURE, READERS, Page, squeezed
from sessionledger.application.services import PersistentSessionService
from sessionledger.domain import formats
from sessionledger.domain.content import parts
from sessionledger.domain.formats.view import pieces, visible
from sessionledger.domain.models import Session, SessionMessage, now

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</p></div></article></main></body><h1>user</h1>",
    "</style><style>body{display:none}</style>",
    "<!-- ", "<![CDATA[", "&lt;script&gt; &amp;amp; &#60;b&#62;",
    "[x](javascript:alert(1)) ![y](https://elsewhere.example/y.png) <https://elsewhere.example>",
    "[x]: https://elsewhere.example\n\n[x]", "https://elsewhere.example www.elsewhere.example",
    "# user\n\nForged", "Forged\n===\nForged\n---", "- a\n- b\n\n1. c\n2) d\n\n+ e\n\n* f\n",
    "> quoted\n\n    indented\n\ttabbed",
    "a | b\n--|--\nc | d", "***\n___\n---", "~~gone~~ $x$ `", "````\nnever closed",
    "text\n```python\nprint()\n```\nmore",
    "```\n````\n`````\n```", "~~~mermaid\ngraph\n~~~", "before **bold** and `co<d>e` and **_b_**, **[l](k)** after",
    "**a**b** `x``y` *i* __b__ _i_ snake_case", "\\*not\\* \\\\ \\", "\r\r\n\x00\x1b[2J\u202e\ud800",
    "line one  \nline two\\\nline three", "  &nbsp; ", "{{ site }} {% raw %}",
]  # fmt: skip

TEXTS = st.text(alphabet="*_`~#[]()<>!&|$\\-+=.:;/1 \n\tab\"'é", max_size=60) | st.text(max_size=60)


# Sessions


def in_memory(contents, title=None):
    """A session that no database knows, and its messages: roles, contents and formats."""
    at = now()
    session_id = sessionledger.message_id_for("session")
    messages = [
        SessionMessage(sessionledger.message_id_for(f"{n}"), session_id, n, role, content, form, "0" * 64, at)
        for n, (role, content, form) in enumerate(contents, start=1)
    ]
    return Session(session_id, "default", at, at, title=title, last_sequence=len(messages)), messages


def written(form, contents, title=None):
    session, messages = in_memory(contents, title)
    return "".join(formats.WRITERS[form](session, messages, Counter()))


def appended(context, *messages):
    for role, content, form in messages:
        context.world.service.append_message(context.line.session, role, content, format=form)


def tool_call(call_id, name, arguments):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool_result(call_id, name, content):
    return "tool", {"role": "tool", "tool_call_id": call_id, "name": name, "content": content}, "openai.chat"


@given("a session with nothing")
def session_with_nothing(context):
    context.line.session = context.world.service.create().session_id


@given('a session with the key "{key}" and {count:d} messages')
def session_keyed(context, key, count):
    context.line.session = context.world.service.create(key=key).session_id
    appended(context, *(("user", f"Message {number}", "text") for number in range(count)))


@given("a session with everything that the OpenAI chat format cannot carry")
def session_with_everything(context):
    service = context.world.service
    metadata = {"messages": 1, "ticket": 4711}
    session = service.create(title="Parcel", actor_name="desk", workspace="spring", metadata=metadata)
    context.line.session = session.session_id
    usage = {"input_tokens": 3}
    service.append_message(session.session_id, "user", "hello", metadata={"a": 1}, usage=usage)


@given("a session with tool calls: two at once answered the other way round, one never, and an answer to none")
def session_with_calls(context):
    context.line.session = context.world.service.create(title="Calls").session_id
    calls = [
        tool_call("a", "parcels", "{}"),
        tool_call("b", "weather", '{"in": "Linden"}'),
        tool_call("c", "trains", ""),
    ]
    appended(
        context,
        ("assistant", {"role": "assistant", "tool_calls": calls}, "openai.chat"),
        tool_result("b", "weather", "21 degrees"),
        tool_result("a", "parcels", "2 parcels"),
        tool_result("z", "stray", "7 strays"),
        ("user", "Thank you", "text"),
        tool_result("a", "lonely", "1 lonely"),
    )


@given("a session with a picture, a picture elsewhere, a vector picture and a long file")
def session_with_files(context):
    context.line.session = context.world.service.create(title="Files").session_id
    vector = "data:image/svg+xml;base64,PHN2Zy8+"
    appended(
        context,
        ("user", [{"type": "image_url", "image_url": {"url": PICTURE}}], "parts"),
        ("user", [{"type": "image_url", "image_url": {"url": "https://elsewhere.example/b.png"}}], "parts"),
        ("user", [{"type": "image", "url": vector}], "parts"),
        ("user", [{"type": "file", "file": {"filename": "a.pdf", "file_data": "QUJDZGVm0A+/" * 300}}], "parts"),
        ("user", {"role": "user", "content": [{"type": "text", "text": "No more"}, 7]}, "openai.chat"),
    )


@given("a session with a text in Arabic, emoji, control characters and code")
def session_with_signs(context):
    context.line.session = context.world.service.create(title="Signs").session_id
    appended(
        context,
        ("user", "أين طردي؟ 📦", "text"),
        ("user", "\x1b[31m red \x00 \ud800 end", "text"),
        ("assistant", "````python\ndef <b>():\n    ```\n````\n**bold** and `&`", "text"),
        ("assistant", "```python\n" + "```` in a line\n" + "```", "text"),
    )


# The command


@when("I run while the session is deleted: {arguments}")
def run_while_deleted(context, arguments):
    run_after_first_page(context, arguments, lambda: context.world.service.delete(context.line.session))


@when("I run while the session is made again with {count:d} messages: {arguments}")
def run_while_made_again(context, count, arguments):
    def make_again():
        context.world.service.delete(context.line.session)
        session_keyed(context, "parcels", count)

    run_after_first_page(context, arguments, make_again)


@when("I run while the session gets {count:d} more messages: {arguments}")
def run_while_growing(context, count, arguments):
    more = [("user", "later", "text")] * count
    run_after_first_page(context, arguments, lambda: appended(context, *more))


def run_after_first_page(context, arguments, act):
    """Run a command; when it has its first messages, something else happens to the session."""
    get, acted = PersistentSessionService.get_messages, []

    def acting(self, *given, **named):
        found = get(self, *given, **named)
        if not acted:
            acted.append(True)
            act()
        return found

    with mock.patch.object(PersistentSessionService, "get_messages", acting):
        context.line.run(arguments)
    assert acted


@when("each session is exported as openai-chat, one behind the other into one file")
def export_all(context):
    lines = []
    for session in context.line.sessions():
        context.line.session = session.session_id
        context.line.run("export SESSION --format openai-chat")
        assert context.line.outcome.status == 0, context.line.outcome
        lines.append(context.line.outcome.raw)
    context.line.file.write_bytes(b"".join(lines))


@when("every tenth session is exported as {form:w}")
def export_some(context, form):
    context.pages = []
    for session in context.line.sessions()[::10]:
        context.line.session = session.session_id
        context.line.run(f"export SESSION --format {form} -o FILE")
        assert context.line.outcome.status == 0, context.line.outcome
        messages = context.world.service.get_messages(session.session_id)
        context.pages.append((context.line.file.read_text(), messages))


@then("the file holds the words: {text}")
def file_has_words(context, text):
    assert text in context.line.file.read_text(), context.line.file.read_text()


@then("the conversation in the file has {count:d} messages")
def conversation_has(context, count):
    assert len(json.loads(context.line.file.read_text())["messages"]) == count


# The OpenAI chat format


@then("the file holds the 200 recorded conversations, equal in every message, with what stood beside the messages")
def file_holds_recorded(context):
    recorded = json.loads(gzip.decompress(context.line.recorded.read_bytes()))
    found = {}
    for line in context.line.file.read_text().splitlines():
        conversation = json.loads(line)
        found[conversation["task_id"], conversation["trial"]] = conversation
    assert len(found) == len(recorded) == 200
    for each in recorded:
        conversation = found[each["task_id"], each["trial"]]
        assert conversation.pop("messages") == each.pop("traj")
        assert conversation == each


@when("a message of {role} in the format {form} is exported as openai-chat: {content}")
def export_message(context, role, form, content):
    service = context.world.service
    session = service.create()
    call_id = "call_1" if form == "text" and role != "user" else None
    service.append_message(session.session_id, role, json.loads(content), format=form, tool_call_id=call_id)
    session, messages = service.get(session.session_id), service.get_messages(session.session_id)
    context.left_out = Counter()
    context.written = "".join(formats.WRITERS["openai-chat"](session, messages, context.left_out))


@then("the conversation's only message is {message}")
def only_message(context, message):
    assert "\ud800" not in context.written
    expected = [] if message == "nothing" else [json.loads(message)]
    assert json.loads(context.written) == {"messages": expected}, context.written


@then("of the message these are left out: {nouns}")
def are_left_out(context, nouns):
    found = {noun: number for noun, number in context.left_out.items() if number and noun not in {"message id", "time"}}
    number, _, noun = nouns.partition(" ")
    assert found == ({} if nouns == "nothing" else {noun: int(number)}), found


# The pages


@then("the {form:w} page shows these calls with these results")
def page_shows_calls(context, form):
    text = context.line.file.read_text()
    rows = [(row["message"], row["call"], row["result"]) for row in context.table]
    assert (html_calls(text) if form == "html" else markdown_calls(text)) == rows, text


def html_calls(text):
    found = []
    for article in Page(text).html.all("article"):
        for details in article.all("details"):
            name = next(details.all("b")).text
            blocks = [each.text for each in details.all("div") if each.text.startswith("Result")]
            result = blocks[0].removeprefix("Result") if blocks else "no result"
            assert bool(blocks) != ("There is no result" in details.text)
            found.append((article.attributes["id"].removeprefix("message-"), name, result))
    return found


MARKDOWN_CALL = re.compile(r"\*\*(?:Call|Result): (\w+)\*\*|^(\d+ \w+|\*There is no result\.\*)$", re.MULTILINE)


def markdown_calls(text):
    found = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        called = None
        for name, result in MARKDOWN_CALL.findall(section):
            called = name or called
            if result:
                number = section.partition(" ")[0]
                found.append((number, called, "no result" if result.startswith("*") else result))
    return found


def said(message):
    """The texts of a message, as far as they are shown whole."""
    for part in parts(message.content, message.format):
        text = part.get("text") if part["type"] == "text" else part.get("content")
        if isinstance(text, str) and text[:1] not in {"{", "["} and len(text) < 1_000_000:
            yield text
        if part["type"] == "tool_call":
            yield str(part["name"] or "tool")


def is_whole(form, text, messages):
    page = squeezed("".join(READERS[form](text)))
    missing = [each for message in messages for each in said(message) if squeezed(each) not in page]
    assert not missing, missing


@then("every text of the session's messages is on the {form:w} page")
def texts_on_page(context, form):
    messages = context.world.service.get_messages(context.line.session)
    is_whole(form, context.line.file.read_text(), messages)


@then("every text of the sessions' messages is on the {form:w} pages")
def texts_on_pages(context, form):
    assert len(context.pages) == 20
    for text, messages in context.pages:
        is_whole(form, text, messages)


@then("the {form:w} page is made of nothing but what its writer writes")
def page_is_pure(context, form):
    READERS[form](context.line.file.read_text())


@then("the {form:w} pages are made of nothing but what their writer writes")
def pages_are_pure(context, form):
    for text, _ in context.pages:
        READERS[form](text)


def check(form, text):
    """One text in every place of a page; the page is read back."""
    chat = {"role": "user", "name": text, "content": text}
    call = {"role": "assistant", "content": text, "tool_calls": [tool_call(text, text, text)]}
    items = [("user", text, "text"), ("user", chat, "openai.chat"), ("assistant", call, "openai.chat")]
    items += [tool_result(text, text, text), ("user", [{"type": text, "value": text}], "parts")]
    name = re.sub("[\x00\ud800-\udfff]", "?", text) or None
    page = written(form, items, title=name)
    page.encode()
    first, *others = READERS[form](page)
    assert len(others) == 3
    expected = squeezed("".join(f"{language or ''}\n{piece}" for piece, language in pieces(visible(text))))
    if text.strip():
        assert squeezed(first.split("UTC\n", 1)[-1] if form == "markdown" else first) == expected, first


@when("any texts are written as {form:w}: as a title, a name, a message, a tool call and its result")
def write_any(context, form):
    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given_values(TEXTS)
    def anything(text):
        check(form, text)

    for text in HOSTILE:
        anything = example(text)(anything)
    context.read_back = anything


@then("each page is made of nothing but what its writer writes, and each message's text is there in full")
def pages_read_back(context):
    context.read_back()


@then("a writer that escapes nothing is found out on {form:w}")
def careless_is_found(context, form):
    target, careless = {
        "html": ("sessionledger.domain.formats.html.escape", lambda text: text),
        "markdown": ("sessionledger.domain.formats.markdown._escaped", lambda text, start, end: text[start:end]),
    }[form]
    found = 0
    with mock.patch(target, careless):
        for text in HOSTILE:
            try:
                check(form, text)
            except AssertionError:
                found += 1
    assert found >= 7, found


@when("the JSON {result} is written as a tool's result in Markdown")
def write_result(context, result):
    context.written = written("markdown", [tool_result("c", "f", json.loads(result))])


@then("the page has the lines: {lines}")
def page_has_lines(context, lines):
    _, _, after = context.written.partition("**Result: f**\n")
    found = [line.strip() for line in after.splitlines() if line and not line.startswith("```")]
    assert found == lines.split(" / "), found


@then("the page's policy allows no script, no other address, and only its own style")
def policy(context):
    page = Page(context.line.file.read_text()).html
    (given_policy,) = (
        each.attributes["content"]
        for each in page.all("meta")
        if each.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    (style,) = page.all("style")
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in given_policy.split(";"))
    assert rules == {
        "default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'",
        "style-src": f"'sha256-{digest}'",
    }  # fmt: skip
    assert "url(" not in style.text
    assert "@import" not in style.text


@then("the html page shows {count:d} picture")
def shows_pictures(context, count):
    assert [each.attributes["src"] for each in Page(context.line.file.read_text()).html.all("img")] == [PICTURE] * count


# Size


@when("1,000 messages of 10,000 characters are written as {form}")
def write_long(context, form):
    count = 1000
    session, (message,) = in_memory([("user", "x " * 5000, "text")])
    drawn = finished = ahead = 0

    def messages():
        nonlocal drawn
        for sequence in range(1, count + 1):
            drawn += 1
            content = f"NUMBER{sequence}. " + message.content
            yield SessionMessage(
                message.message_id, session.session_id, sequence, "user", content, "text", "0" * 64, session.created_at
            )

    tracemalloc.start()
    try:
        for piece in formats.WRITERS[form](session, messages(), Counter()):
            finished += piece.count("NUMBER")
            ahead = max(ahead, drawn - finished)
        _, context.peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert drawn == finished == count
    context.ahead = ahead


@then("no more than 2 of them were ever drawn ahead, in less than 2 MiB")
def little_memory(context):
    assert context.ahead <= 2, context.ahead
    assert context.peak < 2 * 1024 * 1024, context.peak


SWELLING = {
    "900 lists in lists": "[" * 900 + "]" * 900,
    "20,000 lists in lists": "[" * 20_000 + "]" * 20_000,
    "a wide list deep in lists": "[" * 40 + "0," * 45_000 + "0" + "]" * 40,
    "a list that is long": [[0]] * 50_000,
    "500,000 backticks": "`" * 500_000,
    "500,000 asterisks": "* **" * 125_000,
    "500,000 tabs behind a fence": "```" + "\t" * 500_000 + "x`",
    "100,000 fences": "```\n" * 100_000,
}


@when("a tool's result of {what} is written as {form:w}")
def write_swelling(context, what, form):
    result = SWELLING[what]
    text = result if isinstance(result, str) else json.dumps(result)
    context.length = 2 * len(text) + 12_000
    begun = time.process_time()
    context.written = written(form, [tool_result("c", "f", result), ("user", text, "text")])
    context.seconds = time.process_time() - begun


@then("the page is at most 6 times as long, and written within 5 seconds")
def no_swelling(context):
    assert len(context.written) <= 6 * context.length, len(context.written) / context.length
    assert context.seconds < 5, context.seconds
