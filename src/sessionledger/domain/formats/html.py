"""A session as one page that reads like a chat: light and dark, tool calls folded, printable, nothing loaded.

What anybody said is text here and never markup: every piece is escaped, and made visible first. The page has no script,
and its content security policy allows none, nor anything from elsewhere; of the messages' own bytes only pictures are
decoded.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files

from sessionledger.domain.formats.view import (
    LONG_TEXT,
    Block,
    Data,
    Exchange,
    Head,
    Picture,
    Text,
    facts,
    folded,
    indented,
    one_line,
    pieces,
    visible,
)
from sessionledger.domain.models import ROLES, Session, SessionMessage

EMPTY = '<p class="empty">(empty)</p>\n'
PREVIEW = 200
"""Characters of what is folded that are shown."""

INSTRUCTIONS = frozenset({"system", "developer"})
"""The roles whose texts are folded: a reader looks for what was said."""

_EMPHASIS = re.compile(r"`([^`\n]++)`|(?<![\w*])\*\*(?=[^\s*])([^*\n]++)(?<!\s)\*\*(?![\w*])")


def written(session: Session, messages: Iterable[SessionMessage], left_out: Counter[str]) -> Iterator[str]:
    """Yield the page.

    Args:
        session: The session.
        messages: Its messages, in their order.
        left_out: Counts what the page does not show.
    """
    yield _beginning(session, left_out)
    message: SessionMessage | None = None
    for block in folded(messages, left_out):
        if isinstance(block, Head):
            yield "</article>\n" if message else ""
            yield _head(block)
            message = block.message
        elif message:
            yield from _block(block, message, left_out)
    yield "</article>\n" if message else '<p class="empty">There are no messages.</p>\n'
    yield "</main>\n</body>\n</html>\n"


@functools.cache
def _style() -> tuple[str, str]:
    """The page's style, and the policy that allows it and nothing else."""
    style = files("sessionledger.domain.formats").joinpath("page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    allowed = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none';"
    return style, f"{allowed} style-src 'sha256-{digest}'"


def _beginning(session: Session, left_out: Counter[str]) -> str:
    style, policy = _style()
    title = escape(one_line(session.title or session.key or session.session_id))
    told = "".join(
        f"<div><dt>{name}</dt><dd><bdi>{escape(value)}</bdi></dd></div>" for name, value in facts(session, left_out)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1 dir="auto">{title}</h1>
<dl>{told}</dl>
</header>
<main>
"""


def _head(head: Head) -> str:
    message = head.message
    kind = message.role if message.role in ROLES else "other"
    name = "" if head.name is None else f" <bdi>{escape(one_line(head.name))}</bdi>"
    time = "" if head.time is None else f'<time datetime="{message.created_at.isoformat()}">{head.time}</time>'
    return (
        f'<article class="{kind}" id="message-{message.sequence}">\n'
        f'<header><b>{escape(message.role)}{name}</b><a href="#message-{message.sequence}">{message.sequence}</a>'
        f"{time}</header>\n" + (EMPTY if head.empty else "")
    )


def _block(block: Block, message: SessionMessage, left_out: Counter[str]) -> Iterator[str]:
    if isinstance(block, Text):
        yield from _said(block.text, message.role)
    elif isinstance(block, Picture):
        yield f'<div class="said"><img src="{escape(block.address)}" alt="A picture in the message"></div>\n'
    elif isinstance(block, Data):
        text = indented(block.value, left_out)[0]
        yield _folded("folded", _summary(block.kind, text), _pre(text))
    else:
        yield _exchange(block, message, left_out)


def _said(text: str, role: str) -> Iterator[str]:
    is_instruction = role in INSTRUCTIONS and (len(text) > PREVIEW or text.strip().count("\n") > 1)
    if is_instruction or len(text) > LONG_TEXT:
        yield _folded("folded", _summary(None, text), "".join(_paragraphs(text)))
    else:
        yield '<div class="said">\n'
        yield from _paragraphs(text)
        yield "</div>\n"


def _paragraphs(text: str) -> Iterator[str]:
    for piece, language in pieces(visible(text)):
        if language is not None:
            label = f'<div class="language">{escape(language)}</div>' if language else ""
            yield f"<div>{label}{_pre(piece)}</div>\n"
        elif piece.strip():
            yield f'<p dir="auto">{_EMPHASIS.sub(_emphasised, escape(piece))}</p>\n'


def _emphasised(found: re.Match[str]) -> str:
    return f"<code>{found[1]}</code>" if found[1] is not None else f"<strong>{found[2]}</strong>"


def _exchange(exchange: Exchange, message: SessionMessage, left_out: Counter[str]) -> str:
    told = []
    if exchange.called:
        told.append(("Arguments", indented(exchange.arguments, left_out)[0]))
    if exchange.answered is not None:
        told.append(("Result", indented(exchange.result, left_out)[0]))
    inside = "".join(f"<div><h2>{title}</h2>{_pre(text) if text else EMPTY}</div>" for title, text in told)
    if exchange.answered is None:
        inside += '<p class="empty">There is no result.</p>'
    answered = None if exchange.answered == message.sequence else exchange.answered
    return _folded("exchange", _summary(exchange.name, told[0][1], answered), inside)


def _folded(kind: str, summary: str, inside: str) -> str:
    return f'<details class="{kind}">{summary}<div class="inside">{inside}</div></details>\n'


def _summary(name: str | None, text: str, answered: int | None = None) -> str:
    """The line that is left of something folded: its name, how it begins, the sequence of the message that answers."""
    short = one_line(text[: 4 * PREVIEW])
    short = f"{short[:PREVIEW]}…" if len(short) > PREVIEW or len(text) > 4 * PREVIEW else short
    named = "" if name is None else f"<b><bdi>{escape(one_line(name))}</bdi></b>"
    place = "" if answered is None else f'<small class="answered">{answered}</small>'
    return f'<summary>{named}<span dir="auto">{escape(short)}</span>{place}</summary>'


def _pre(text: str) -> str:
    return f'<pre dir="auto"><code>{escape(visible(text))}</code></pre>'
