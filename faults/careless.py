"""Careless services, each wrong in one usual way: the state machine must find a counterexample for every one."""

from __future__ import annotations

from typing import Any

import sessionledger


class Careless:
    """A service that passes everything on; a subclass does one thing carelessly."""

    def __init__(self, service: Any) -> None:
        self._service = service
        self._known: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    def _seen(self, message_id: str | None) -> bool:
        """Whether it has passed this service before."""
        seen = message_id in self._known
        self._known |= {message_id} if message_id else set()
        return seen


class MintsAnew(Careless):
    """Its retry of an append mints the id anew."""

    def append_messages(self, session_id: str, messages: list[dict[str, Any]], **named: Any) -> Any:
        anew = [
            {**message, "message_id": sessionledger.new_id()} if self._seen(message.get("message_id")) else message
            for message in messages
        ]
        return self._service.append_messages(session_id, anew, **named)


class AddsAgain(Careless):
    """Token usage that is sent again is added again."""

    def update_token_usage(self, session_id: str, *, usage_id: str | None = None, **named: Any) -> Any:
        return self._service.update_token_usage(
            session_id, usage_id=None if self._seen(usage_id) else usage_id, **named
        )


class CommitsEachRow(Careless):
    """Each message of a batch is a transaction of its own."""

    def append_messages(self, session_id: str, messages: list[dict[str, Any]], **named: Any) -> Any:
        return [self._service.append_messages(session_id, [message], **named)[0] for message in messages]


class ImportsAgain(Careless):
    """An archive that is imported again is one more session."""

    def import_session(self, file: Any, **_: Any) -> Any:
        return self._service.import_session(file, as_copy=True)


class LastUpdateWins(Careless):
    """The version that the caller expects is not looked at."""

    def update(self, session_id: str, *, expected_version: int | None = None, **named: Any) -> Any:  # noqa: ARG002
        return self._service.update(session_id, **named)


class ReadsFrom(Careless):
    """What comes after n begins with n."""

    def get_messages(self, session_id: str, *, after: int = 0, **named: Any) -> Any:
        return self._service.get_messages(session_id, after=max(after - 1, 0), **named)


CARELESS = {
    "mints the id anew": MintsAnew,
    "adds usage again": AddsAgain,
    "commits each row": CommitsEachRow,
    "imports again": ImportsAgain,
    "last update wins": LastUpdateWins,
    "reads from n": ReadsFrom,
}
