"""Content: any JSON value, and those that databases like to change."""

import hashlib
import io
import json
import math

from behave import then, when
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHANGED_BY_OTHERS = {
    "NUL": "a\0b",
    "a lone surrogate": "a\ud800b",
    "a backslash and u": "a\\u0000b",
    "1e16": 1e16,
    "1e22": 1e22,
    "minus zero": -0.0,
    "the smallest float": 5e-324,
    "0.1 plus 0.2": 0.1 + 0.2,
    "1.0": 1.0,
    "1": 1,
    "true": True,
    "null": None,
    "2^53 plus 1": 2**53 + 1,
    "40 digits": 10**40 - 1,
    "minus 40 digits": -(10**40) + 1,
    "keys in any order": {"a": 1, "B": 2, "": 3, "ä": 4, "📦": 5},
    "spaces and newlines": "  \n\t ",
    "a string of JSON": '{"a": 1}',
    "a composed and a decomposed letter": ["\u00e9", "e\u0301"],
}

# A high surrogate before a low one is refused, see input.feature.
TEXT = st.text(st.characters(exclude_categories=[]), max_size=20).filter(
    lambda text: text == text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
INTEGERS = st.integers(-(10**40) + 1, 10**40 - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5), max_leaves=20
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=4)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255)

# The same examples in every run: what is found here has to be found by everybody.
STEADY = settings(
    max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def exact(value):
    """A value with its types: 1, 1.0 and True are three, 0.0 and -0.0 are two."""
    if isinstance(value, dict):
        return {key: exact(each) for key, each in value.items()}
    if isinstance(value, list):
        return [exact(each) for each in value]
    if isinstance(value, float):
        return ("float", value.hex(), math.copysign(1, value))
    return (type(value).__name__, value)


def canonical_hash(value):
    """Worked out here again, in the plainest way."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    escaped = "".join(f"\\u{ord(each):04x}" if "\ud800" <= each <= "\udfff" else each for each in text)
    return hashlib.sha256(escaped.encode()).hexdigest()


@when("any JSON values are appended as content and as metadata")
def append_any(context):
    service, session_id = context.world.service, context.session.session_id
    context.pairs = []

    @STEADY
    @given(st.lists(st.tuples(VALUES, OBJECTS), min_size=1, max_size=5))
    def append(values):
        messages = [{"role": "user", "content": content, "metadata": metadata} for content, metadata in values]
        sent = service.append_messages(session_id, messages)
        stored = service.get_messages(session_id, last=len(values))
        context.pairs.extend(zip(values, sent, stored, strict=True))

    append()


@then("each comes back equal, of the same types, with the hash of its canonical form")
def any_comes_back(context):
    assert len(context.pairs) >= 60
    for (content, metadata), sent, stored in context.pairs:
        for message in (sent, stored):
            assert message.content == content
            assert message.metadata == metadata
            assert exact(message.content) == exact(content), (content, message.content)
            assert exact(message.metadata) == exact(metadata), (metadata, message.metadata)
            assert message.content_sha256 == canonical_hash(content)


@when("sessions are created with any text that a name may be")
def create_any(context):
    context.pairs = []

    @STEADY
    @given(NAMES, NAMES, NAMES)
    def create(key, actor_name, workspace):
        # The same key may come twice, and is then the same session.
        made = context.world.service.get_or_create(key, actor_name=actor_name, workspace=workspace)
        context.pairs.append(((made.key, made.actor_name, made.workspace), (key, actor_name, workspace), made))

    create()


@then("each comes back equal and is found again")
def any_name_comes_back(context):
    service = context.world.service
    first = {}
    for found, given_, made in context.pairs:
        first.setdefault(given_[0], given_)
        assert found == first[given_[0]], (found, given_)
        assert service.find(made.key) == made, made
        listed = service.list(actor_name=made.actor_name, workspace=made.workspace, limit=1000)
        assert made in listed.sessions, made
    assert len(first) >= 20, len(first)


@when("{what} is appended as content")
def append_what(context, what):
    context.value = CHANGED_BY_OTHERS[what]
    context.messages = [context.world.service.append_message(context.session.session_id, "user", context.value)]


@then("it comes back equal, of the same types")
def comes_back(context):
    (stored,) = context.world.service.get_messages(context.session.session_id)
    assert exact(stored.content) == exact(context.value), stored.content
    assert stored.content_sha256 == canonical_hash(context.value)


@then("the database holds exactly {text}")
def holds_exactly(context, text):
    (row,) = context.world.contents()["session_messages"]
    if context.value == CHANGED_BY_OTHERS["a composed and a decomposed letter"]:
        text = '["\u00e9","e\u0301"]'  # editors make one of the two
    assert row["content"] == text, row["content"]
    assert hashlib.sha256(text.encode()).hexdigest() == row["content_sha256"]


@then("it comes back equal from an archive")
def comes_back_from_archive(context):
    file = io.BytesIO()
    context.world.service.export_session(context.session.session_id, file)
    file.seek(0)
    elsewhere = make_elsewhere(context)
    imported = elsewhere.import_session(file)
    (message,) = elsewhere.get_messages(imported.session_id)
    assert exact(message.content) == exact(context.value), message.content


def make_elsewhere(context):
    context.world.elsewhere_url = context.world.elsewhere()
    return context.world.connect(context.world.elsewhere_url)
