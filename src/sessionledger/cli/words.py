"""Numbers, sizes and times in words for people."""

from datetime import datetime

from sessionledger.domain.models import ArchiveReceipt, Session, TokenUsage


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 message`, `5,308 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(length: int) -> str:
    """A length in bytes, rounded: `812 B`, `2.1 kB`, `7.0 MB`."""
    if length < 1000:
        return f"{length} B"
    if length < 1_000_000:
        return f"{length / 1000:.1f} kB"
    return f"{length / 1_000_000:.1f} MB"


def receipt(written: ArchiveReceipt) -> str:
    """What an export wrote: `1 session, 12 messages, 14,732 bytes, SHA-256 …`."""
    counted = [
        count(written.sessions, "session"),
        count(written.messages, "message"),
        count(written.size, "byte"),
    ]
    return f"{', '.join(counted)}, SHA-256 {written.sha256}"


def ago(then: datetime, now: datetime) -> str:
    """How long ago something was, rounded down: `just now`, `5 min ago`, `3 days ago`; a date after a month."""
    seconds = int((now - then).total_seconds())
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60} min ago"
    if seconds < 86400:
        return f"{seconds // 3600} h ago"
    if seconds < 30 * 86400:
        return f"{count(seconds // 86400, 'day')} ago"
    return f"{then.astimezone():%Y-%m-%d}"


def cost(usage: TokenUsage) -> str:
    """A cost without trailing zeros, with at least two decimal places: `0.0031`, `1.50`; a dash if not reported."""
    if usage.cost is None:
        return "-"
    whole, _, places = format(usage.cost, "f").partition(".")
    return f"{int(whole):,}.{places.rstrip('0').ljust(2, '0')}"


def tokens(usage: TokenUsage) -> str:
    """The tokens of a session: `1,203 in · 310 out`, with what is known about the cache, reasoning and the cost."""
    said = [f"{usage.input_tokens:,} in", f"{usage.output_tokens:,} out"]
    said += [
        f"{value:,} {word}"
        for value, word in (
            (usage.cached_input_tokens, "from cache"),
            (usage.cache_write_tokens, "to cache"),
            (usage.reasoning_tokens, "reasoning"),
        )
        if value
    ]
    if usage.cost is not None:
        said.append(f"cost {cost(usage)}")
    return " · ".join(said)


def name(session: Session) -> str:
    """What a person calls a session: its title, else its key, else its id."""
    return session.title or session.key or session.session_id
