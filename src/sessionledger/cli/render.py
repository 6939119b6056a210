"""How conversations look: coloured and wrapped on a terminal, plain lines for everything else.

`lines` folds a message into a few lines; both looks are made from them. Text from a message never reaches the terminal
as it is: control characters are shown as signs.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sessionledger.cli import words
from sessionledger.cli.context import Context, printable
from sessionledger.domain.content import JSON, parts
from sessionledger.domain.models import NO_USAGE, Session, SessionMessage, TokenUsage, now

PLAIN_WIDTH = 160
READABLE_WIDTH = 110
FOLDED_LINES = {"system": 3, "developer": 3}
MANY_LINES = 30

ROLE_STYLES = {"system": "magenta", "developer": "magenta", "user": "bold cyan", "assistant": "green", "tool": "yellow"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a folded message.

    Attributes:
        text: What it says.
        style: How it looks on a terminal.
        head: Where it is cut at the end rather than wrapped: what stands before it, in its own style.
    """

    text: str
    style: str = ""
    head: str | None = None


def conversation(context: Context, session: Session, messages: Sequence[SessionMessage], *, full: bool) -> None:
    """Print a session and its messages for a person to read."""
    width = min(context.out.width, READABLE_WIDTH)
    shown = _shown(session, messages)
    if not context.pretty:
        for line in _header(session):
            context.print(line)
        if shown:
            context.print(shown)
        for message in messages:
            _plain(context, message, full=full)
        return
    context.out.print(_panel(session, shown), width=width)
    digits = len(str(session.last_sequence))
    with_times = len({_clock(message) for message in messages}) > 1
    before: SessionMessage | None = None
    for message in messages:
        is_answer = before is not None and message.role == "tool" and before.role != "user"
        if not is_answer or full:
            context.out.print()
        is_later = before is None or _clock(message) != _clock(before)
        time = (_clock(message) if is_later else "") if with_times else None
        context.out.print(_block(message, digits, time, full=full), width=width)
        before = message


def lines(message: SessionMessage, *, full: bool, width: int = PLAIN_WIDTH) -> Iterator[Line]:
    """Fold a message into a few lines, or unfold all of it."""
    written = False
    for part in parts(message.content, message.format):
        kind = part.get("type")
        if kind == "text" and isinstance(part.get("text"), str):
            found: Iterable[Line] = _text(part["text"], message.role, full=full, width=width)
        elif kind == "tool_call":
            found = _call(part, full=full)
        elif kind == "tool_result":
            found = _result(part, full=full)
        else:
            found = _data(part, full=full)
        for line in found:
            written = True
            yield line
    if not written:
        yield Line("(empty)", "dim")


def _text(text: str, role: str, *, full: bool, width: int) -> Iterator[Line]:
    allowed = FOLDED_LINES.get(role, MANY_LINES)
    every = text.rstrip().split("\n")
    if full or (len(every) <= allowed + 1 and len(text) <= width * (allowed + 1)):
        yield from (Line(line) for line in every if text.strip())
        return
    kept = 0
    room = width * allowed
    for line in [each for each in every if each.strip() or allowed == MANY_LINES][:allowed]:
        yield Line(line[:room] + ("…" if len(line) > room else ""))
        room -= len(line)
        kept += 1
        if room <= 0:
            break
    left = len(every) - kept
    yield Line(f"… {words.count(left, 'more line')}, {words.size(len(text.encode('utf-8', 'replace')))}", "dim italic")


def _call(part: dict[str, JSON], *, full: bool) -> Iterator[Line]:
    name = _word(part.get("name"))
    arguments = _parsed(part.get("arguments"))
    if full:
        yield Line("", head=f"→ {name}")
        yield from (Line(f"  {line}") for line in _pretty(arguments))
    elif isinstance(arguments, dict):
        written = ", ".join(f"{key}={_short(value, 48)}" for key, value in arguments.items())
        yield Line(f"({written})", head=f"→ {name}")
    else:
        yield Line(f"({'' if arguments is None else _short(arguments, PLAIN_WIDTH)})", head=f"→ {name}")


def _result(part: dict[str, JSON], *, full: bool) -> Iterator[Line]:
    content = part.get("content")
    text = content if isinstance(content, str) else _compact(content)
    name = _word(part.get("name")) if part.get("name") else "result"
    style = "red" if text.lstrip().lower().startswith("error") else "dim"
    head = f"← {name}"
    if full:
        yield Line("", head=head)
        yield from (Line(f"  {line}", "red" if style == "red" else "") for line in _pretty(_parsed(content)))
        return
    folded = " ".join(text.split())
    length = len(text.encode("utf-8", "replace"))
    size = f"{words.size(length)}  " if length > 80 else ""
    yield Line(f"  {size}{folded[: 2 * PLAIN_WIDTH] or '(empty)'}", style, head)


def _data(part: dict[str, JSON], *, full: bool) -> Iterator[Line]:
    is_neutral = part.get("type") == "data" and part.keys() == {"type", "value"}
    value = part.get("value") if is_neutral else {key: each for key, each in part.items() if key != "type"}
    head = f"◆ {_word(part.get('type'))}"
    if full:
        yield Line("", head=head)
        yield from (Line(f"  {line}") for line in _pretty(value))
    else:
        text = _compact(value)
        yield Line(f"  {words.size(len(text))}  {text[: 2 * PLAIN_WIDTH]}", "dim", head)


def _header(session: Session) -> list[str]:
    """A session in a few lines; the first is its title."""
    about = [session.session_id]
    about += [
        f"{word} {value}"
        for word, value in (
            ("actor", session.actor_name),
            ("workspace", session.workspace),
            ("key", _middle_cut(session.key)),
        )
        if value
    ]
    if session.source is not None:
        about.append(f"imported from {session.source.session_id} in the archive {session.source.sha256[:16]}…")
    if session.namespace != "default":
        about.append(f"namespace {session.namespace}")
    made = f"made {session.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
    changed = f"changed {words.ago(session.updated_at, now())}"
    times = [made, changed, *(["archived"] if session.archived_at else [])]
    counted = words.count(session.last_sequence, "message")
    spent = f" · {words.tokens(session.usage)}" if session.usage not in {TokenUsage(), NO_USAGE} else ""
    title = [session.title] if session.title else []
    return [*title, " · ".join(about), " · ".join(times), f"{counted}{spent}"]


"""The totals of a session for which nothing was recorded."""


def _middle_cut(key: str | None) -> str | None:
    return key if key is None or len(key) <= 40 else f"{key[:22]}…{key[-12:]}"


def _shown(session: Session, messages: Sequence[SessionMessage]) -> str | None:
    if len(messages) == session.last_sequence:
        return None
    if not messages:
        return "showing none of them"
    return f"showing {messages[0].sequence} to {messages[-1].sequence}"


def _panel(session: Session, shown: str | None) -> Panel:
    told = [printable(line).replace("\n", " ") for line in _header(session)]
    body = [Text(line, style="dim") for line in told]
    if session.title:
        body[0] = Text(told[0], style="bold")
    body[-1] = Text(told[-1] + (f" · {shown}" if shown else ""))
    return Panel(Group(*body), box=box.ROUNDED, border_style="dim", padding=(0, 1))


def _block(message: SessionMessage, digits: int, time: str | None, *, full: bool) -> Table:
    """A message as a row: its sequence, its role, what it says, and its time, where times differ at all."""
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(width=digits, justify="right", style="dim")
    grid.add_column(width=9, style=ROLE_STYLES.get(message.role, "blue"), no_wrap=True, overflow="ellipsis")
    grid.add_column(ratio=1)
    body = Group(*(_rich(line) for line in lines(message, full=full)))
    row: list[RenderableType] = [str(message.sequence), Text(printable(message.role)), body]
    if time is not None:
        grid.add_column(width=8, style="dim")
        row.append(time)
    grid.add_row(*row)
    return grid


def _rich(line: Line) -> RenderableType:
    """A line for the terminal; a list's item and an indented line are wrapped behind their start."""
    marked = _LIST_MARK.match(line.text) if line.head is None else None
    if marked is None:
        return _styled(line)
    grid = Table.grid()
    grid.add_row(Text(printable(marked[0])), _styled(Line(line.text[marked.end() :], line.style)))
    return grid


_LIST_MARK = re.compile(r"(?: *(?:[-*•]|\d{1,3}[.)]) +| +)(?=\S)")
"""A list's mark with what stands before it, or an indentation: what is wrapped goes on behind it."""


def _styled(line: Line) -> Text:
    text = Text(style=line.style)
    if line.head is not None:
        text.append(printable(line.head), style="bold" if line.style != "red" else "bold red")
        text.no_wrap, text.overflow = True, "ellipsis"
    text.append(printable(line.text))
    text.highlight_regex(r"\*\*[^*\n]+\*\*", "bold")
    return text


def _clock(message: SessionMessage) -> str:
    return f"{message.created_at.astimezone():%H:%M:%S}"


def _plain(context: Context, message: SessionMessage, *, full: bool) -> None:
    gutter = f"{message.sequence:>5}  {_clock(message)}  {message.role:<9}  "
    for line in lines(message, full=full):
        text = f"{line.head or ''}{line.text}"
        if line.head is not None and len(text) > PLAIN_WIDTH:
            text = f"{text[: PLAIN_WIDTH - 1]}…"
        context.print(f"{gutter}{text}".rstrip())
        gutter = " " * len(gutter)


def _parsed(value: JSON) -> JSON:
    """Read what a model or a tool wrote as JSON, where it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _pretty(value: JSON) -> list[str]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return text.rstrip().split("\n")


def _compact(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False)


def _short(value: Any, limit: int) -> str:
    """A value in a few characters: long lists and objects by their size."""
    text = _compact(value)
    if len(text) <= limit:
        return text
    if isinstance(value, list):
        return f"[{len(value)} items]"
    if isinstance(value, dict):
        return (
            f"{{{', '.join(map(str, value))}}}" if len(", ".join(map(str, value))) < limit else f"{{{len(value)} keys}}"
        )
    return f'{text[: limit - 2]}…"' if isinstance(value, str) else f"{text[: limit - 1]}…"


def _word(value: JSON) -> str:
    return value if isinstance(value, str) and value else "?"
