"""Sessions in formats that people already have: pure, a message at a time.

One file a format. A writer takes a session, its messages in their order, and a counter in which it counts, by a noun,
what its format cannot carry; it yields the text in pieces, none of which holds a character that UTF-8 cannot.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from sessionledger.domain.formats import html, markdown, openai_chat
from sessionledger.domain.models import Session, SessionMessage

Writer = Callable[[Session, Iterable[SessionMessage], Counter[str]], Iterator[str]]

WRITERS: dict[str, Writer] = {
    "openai-chat": openai_chat.written,
    "markdown": markdown.written,
    "html": html.written,
}
"""The formats that a session can be written in, by the name that a person gives them."""
