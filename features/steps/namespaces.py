"""Session ids that several namespaces ask for."""

from __future__ import annotations

import io

from behave import given, then, when

import sessionledger

KEY = "ticket/4711"


@given('a session of the namespace "{namespace}" that cost {count:d} input tokens and was deleted')
def deleted_session(context, namespace, count):
    service = context.world.connect(namespace=namespace)
    context.session = service.create(key=KEY)
    if count:
        service.update_token_usage(context.session.session_id, input_tokens=count)
    service.delete(context.session.session_id)


@when('the namespace "{namespace}" creates a session with its id')
def created_with_its_id(context, namespace):
    service = context.world.connect(namespace=namespace)
    context.world.attempt(lambda: service.create(session_id=context.session.session_id))


@then('the namespace "{namespace}" has no session')
def has_no_session(context, namespace):
    page = context.world.connect(namespace=namespace).list(include_archived=True)
    assert not page.sessions, page


@then('the namespace "{namespace}" may create it again, with {count:d} input tokens')
def created_again(context, namespace, count):
    session = context.world.connect(namespace=namespace).create(key=KEY)
    assert (session.session_id, session.usage.input_tokens) == (context.session.session_id, count)


@then("it has that id and cost nothing")
def has_that_id(context):
    session = context.world.result
    assert (session.session_id, session.namespace, session.usage.input_tokens) == (
        context.session.session_id,
        "globex",
        0,
    )


@given('the namespace "{other}" has created a session with the id that {call:w} derives in the namespace "{namespace}"')
def taken_before(context, other, call, namespace):
    service = context.world.connect(namespace=namespace)
    context.file = io.BytesIO()
    if call in {"import_session", "import_sessions"}:
        source = context.world.connect(namespace="initech")
        source.export_session(source.create().session_id, context.file)
        session = service.import_session(io.BytesIO(context.file.getvalue()))
        service.delete(session.session_id)
        session_id = session.session_id
    else:
        session_id = sessionledger.session_id_for(namespace, KEY)
    context.world.connect(namespace=other).create(session_id=session_id)


@when('{call:w} is called in the namespace "{namespace}"')
def called_in(context, call, namespace):
    service = context.world.connect(namespace=namespace)
    calls = {
        "create": lambda: service.create(key=KEY),
        "get_or_create": lambda: service.get_or_create(KEY),
        "import_session": lambda: service.import_session(io.BytesIO(context.file.getvalue())),
        "import_sessions": lambda: service.import_sessions(io.BytesIO(context.file.getvalue())),
    }
    context.world.attempt(calls[call])
