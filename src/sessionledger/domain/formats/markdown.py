r"""A session as Markdown (CommonMark) that reads well in any viewer.

What anybody said stays what it is: every character that could be markup is escaped, so that a text can neither make a
heading, a link or a picture, nor HTML. Code blocks and emphasis are kept, in fences longer than any run in the code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from sessionledger.domain.formats.view import (
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
from sessionledger.domain.models import Session, SessionMessage

_EMPHASIS = re.compile(r"(?<![^\s(])(?:`([^`\n]++)`|\*\*(?=\w)([^*`\n]++)(?<=[\w.:!?])\*\*)(?![^\s.,:;!?)])")
_MARKUP = re.compile(r"[\\`*\[\]|~$#<>&]|(?<![^\W_])_|_(?![^\W_])|(?<=[A-Za-z]):(?=//)|(?<=\bwww)\.")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
_LINE_START = re.compile(r"\d{1,9}[.)](?!\S)|-(?![^\s-])|\+(?!\S)|=")
_INDENT = re.compile(r"[ \t]*")

EMPTY = "\n*(empty)*\n"
LANGUAGES = frozenset(
    {"bash", "c", "cpp", "css", "diff", "go", "html", "java", "javascript", "js", "json", "python", "ruby", "rust"}
    | {"sh", "sql", "text", "toml", "ts", "typescript", "xml", "yaml"}
)
"""What a fence may say of itself: some viewers run or draw what a fence with another word holds."""


def written(session: Session, messages: Iterable[SessionMessage], left_out: Counter[str]) -> Iterator[str]:
    """Yield the page.

    Args:
        session: The session.
        messages: Its messages, in their order.
        left_out: Counts what the page does not show.
    """
    yield f"# {_plain(session.title or session.key or session.session_id)}\n\n"
    for name, value in facts(session, left_out):
        yield f"- {name}: {_plain(value)}\n"
    for block in folded(messages, left_out):
        if isinstance(block, Head):
            sequence = block.message.sequence
            yield _head(block)
        else:
            yield _block(block, sequence, left_out)


def _head(head: Head) -> str:
    name = "" if head.name is None else f" ({_plain(head.name)})"
    told = f"\n## {head.message.sequence} · {_plain(head.message.role)}{name}\n"
    if head.time is not None:
        told += f"\n*{head.time}*\n"
    return told + (EMPTY if head.empty else "")


def _block(block: Block, sequence: int, left_out: Counter[str]) -> str:
    if isinstance(block, Text):
        return "".join(_said(block.text))
    if isinstance(block, Picture):
        left_out["picture"] += 1
        return f"\n*A picture of {len(block.address):,} characters*\n"
    if isinstance(block, Data):
        return f"\n**{_plain(f'Data: {block.kind}')}**\n{_json(block.value, left_out)}"
    return _exchange(block, sequence, left_out)


def _said(text: str) -> Iterator[str]:
    for piece, language in pieces(visible(text)):
        if language in LANGUAGES:
            yield _fenced(piece, language)
        elif language is not None:
            yield (f"\n*{_plain(language)}*\n" if language else "") + _fenced(piece, "")
        else:
            yield from (f"\n{paragraph}\n" for each in re.split(r"\n\s*\n", piece) if (paragraph := _paragraph(each)))


def _paragraph(text: str) -> str:
    """The lines with markup escaped; two spaces at the end of a line break it in every viewer."""
    return "  \n".join(_line(line) for line in text.split("\n") if line.strip())


def _line(text: str) -> str:
    """A visible line that is markup only where it is emphasised; an indentation is kept by fixed spaces."""
    text = text.rstrip()
    indentation = _INDENT.match(text)[0]  # type: ignore[index]  # it matches the empty text
    rest = text[len(indentation) :]
    start = _LINE_START.match(rest)
    marked = "" if start is None else f"{rest[: start.end() - 1]}\\{rest[start.end() - 1]}"
    told, at = [marked], 0 if start is None else start.end()
    for found in _EMPHASIS.finditer(rest, at):
        told.append(_escaped(rest, at, found.start()))
        told.append(found[0] if found[1] is not None else f"**{_escaped(rest, found.start(2), found.end(2))}**")
        at = found.end()
    return indentation.expandtabs(4).replace(" ", "\N{NO-BREAK SPACE}") + "".join(told) + _escaped(rest, at, len(rest))


def _plain(text: str) -> str:
    """A text within a line of the page's own; nothing of it is markup."""
    line = one_line(text)
    return _escaped(line, 0, len(line))


def _escaped(text: str, start: int, end: int) -> str:
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), text[start:end])


def _exchange(exchange: Exchange, sequence: int, left_out: Counter[str]) -> str:
    told = ""
    if exchange.called:
        told = f"\n**{_plain(f'Call: {exchange.name}')}**\n{_json(exchange.arguments, left_out)}"
    if exchange.answered is None:
        return f"{told}\n*There is no result.*\n"
    place = "" if exchange.answered == sequence else f" ({exchange.answered})"
    return f"{told}\n**{_plain(f'Result: {exchange.name}')}**{place}\n{_json(exchange.result, left_out)}"


def _json(value: object, left_out: Counter[str]) -> str:
    text, is_json = indented(value, left_out)
    return _fenced(text, "json" if is_json else "") if text else EMPTY


def _fenced(text: str, language: str) -> str:
    """A code block that nothing inside can end."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"\n{fence}{language}\n{text}\n{fence}\n"
