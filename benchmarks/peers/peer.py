"""What an adapter gives: a peer's own public calls behind a few names, so that all do the same work.

An adapter module has a dictionary `PEERS` of name → class. The class runs in the peer's own environment (worker.py), so
this file needs nothing but the standard library. Any method may be a coroutine function. A `session` is whatever the
peer wants to be given again: an object of its own, or an id.
"""

from __future__ import annotations

from typing import Any, ClassVar

PAGE = 50
FILLER = " ".join(f"word{number % 97:03}" for number in range(119))  # about a kilobyte


def text_of(tag: str) -> str:
    """A message's text: its tag, and filler up to about a kilobyte."""
    return f"{tag} {FILLER}"


def tag_of(text: str) -> str:
    """The tag that a text begins with."""
    return text.partition(" ")[0]


class Peer:
    """One store of conversations.

    Attributes:
        packages: The distributions whose releases are told.
        notes: What must be known to read its figures, in sentences.
        missing: Why a workload does not apply, by workload (`W1` … `W6`), in a sentence each.
        faster: Why it may be faster than sessionledger, by workload, in a sentence each.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    notes: ClassVar[tuple[str, ...]] = ()
    missing: ClassVar[dict[str, str]] = {}
    faster: ClassVar[dict[str, str]] = {}

    def open(self, target: str, make: bool) -> Any:
        """Open a file, a folder or a `postgresql://` URL of its own; make the tables if told."""
        raise NotImplementedError

    def session(self, name: str, make: bool) -> Any:
        """Make a session, or take one that is there."""
        raise NotImplementedError

    def append(self, session: Any, text: str) -> Any:
        """Append one message; when it returns, the message is acknowledged."""
        raise NotImplementedError

    def turn(self, session: Any, text: str) -> Any:
        """Append one message beside other writers, as the peer's own runner does: what W6 calls."""
        return self.append(session, text)

    def append_many(self, session: Any, texts: list[str]) -> Any:
        """Append messages in one call."""
        raise NotImplementedError

    def fill(self, session: Any, texts: list[str]) -> Any:
        """Append many messages to a new session, in the fastest way; not measured."""
        return self.append_many(session, texts)

    def last(self, session: Any, count: int) -> Any:
        """The texts of the last messages, oldest first."""
        raise NotImplementedError

    def everything(self, session: Any) -> Any:
        """The texts of all messages, in the order in which the reading API gives them."""
        return self.last(session, 1_000_000)

    def positions(self, session: Any) -> Any:  # noqa: ARG002 - for the classes that have them
        """What its rows say about the messages' places, one for each; `None` if it keeps none."""
        return None

    def add_sessions(self, count: int) -> Any:
        """Make sessions to be listed; not measured."""
        raise NotImplementedError

    def page(self, number: int) -> Any:
        """Read page `number` (from 0) of 50 sessions; return how many came."""
        raise NotImplementedError

    def close(self) -> Any:
        """Close what is open."""
