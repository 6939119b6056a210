"""The models: what an application that queries with SQLAlchemy sees and writes."""

import sqlalchemy
from behave import then, when
from sqlalchemy import select

from sessionledger.infrastructure.database import SessionMessageModel, SessionModel

PLAIN = ("session_id", "namespace", "actor_name", "last_sequence", "created_at", "updated_at")
PLAIN += ("title", "key", "version", "archived_at")
OF_MESSAGE = ("message_id", "session_id", "sequence", "role", "content", "tool_call_id", "created_at", "format")
OF_MESSAGE += ("content_sha256",)


def facts(holder, names):
    return {name: getattr(holder, name) for name in names}


def session_facts(model):
    return facts(model, PLAIN) | {"metadata": model.session_metadata, "input_tokens": model.input_tokens}


def message_facts(model):
    return facts(model, OF_MESSAGE) | {"metadata": model.message_metadata}


def orm(context, work):
    return context.world.orm(context.world.database(), work)


@when("it is read through SessionModel and SessionMessageModel")
def read_through_models(context):
    session_id = context.session.session_id

    def work(orm_session):
        session = orm_session.get(SessionModel, session_id)
        query = select(SessionMessageModel).where(SessionMessageModel.session_id == session_id)
        messages = orm_session.scalars(query.order_by(SessionMessageModel.sequence)).all()
        return session_facts(session), [message_facts(message) for message in messages]

    context.models = orm(context, work)


@when("a session with {count:d} messages is written through SessionModel and SessionMessageModel")
def write_through_models(context, count):
    def work(orm_session):
        session = SessionModel(namespace="default", title="By hand", session_metadata={"by": "hand"})
        orm_session.add(session)
        orm_session.flush()
        messages = [
            SessionMessageModel(
                session_id=session.session_id,
                sequence=sequence,
                role="user",
                content={"text": [sequence, 1e16, -0.0]},
                message_metadata={"by": "hand"},
            )
            for sequence in range(1, count + 1)
        ]
        orm_session.add_all(messages)
        session.last_sequence = count
        orm_session.flush()
        return session_facts(session), [message_facts(message) for message in messages]

    context.models = orm(context, work)


@when("its SessionModel is deleted")
def delete_model(context):
    def work(orm_session):
        orm_session.delete(orm_session.get(SessionModel, context.session.session_id))

    orm(context, work)


@when("a SessionMessageModel with sequence {sequence:d} is written")
def write_sequence(context, sequence):
    def work(orm_session):
        session_id = context.session.session_id
        orm_session.add(SessionMessageModel(session_id=session_id, sequence=sequence, role="user", content="Again"))

    context.world.attempt(lambda: orm(context, work))


@then("the models hold what the service gives")
@then("the service gives what the models held")
def models_and_service_agree(context):
    session, messages = context.models
    found = context.world.service.get(session["session_id"])
    assert session == facts(found, PLAIN) | {"metadata": found.metadata, "input_tokens": found.usage.input_tokens}
    read = context.world.service.get_messages(session["session_id"])
    expected = [facts(message, OF_MESSAGE) | {"metadata": message.metadata} for message in read]
    for held in messages:  # a model written without a hash gets one when it is read
        held["content_sha256"] = held["content_sha256"] or read[held["sequence"] - 1].content_sha256
    assert len(messages) >= 2
    assert messages == expected, f"{messages} is not {expected}"


@then("the database refuses it as a violation of integrity")
def integrity_refused(context):
    context.world.refusal(sqlalchemy.exc.IntegrityError)
