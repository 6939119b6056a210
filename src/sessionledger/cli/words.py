"""Numbers, sizes and times in words for people."""

from datetime import datetime

from sessionledger.domain.archive import ArchiveReceipt
from sessionledger.domain.models import Session, TokenUsage


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


def seconds(duration: float) -> str:
    """How long something took: `9 ms`, `1.3 s`, `41 s`, `2 min 5 s`."""
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    if duration < 10:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def receipt(written: ArchiveReceipt, compression: str | None = None) -> str:
    """What an export wrote: `1 session, 12 messages, 14,732 bytes, SHA-256 …`."""
    counted = [
        count(written.sessions, "session"),
        count(written.messages, "message"),
        length(written.size, compression, written.compressed_size),
    ]
    return f"{', '.join(counted)}, SHA-256 {written.sha256}"


def length(size: int, compression: str | None, compressed_size: int | None) -> str:
    """The length of an archive: `14,732 bytes`, `14,732 bytes (3,120 with zstd)`."""
    compressed = "" if compression is None or compressed_size is None else f" ({compressed_size:,} with {compression})"
    return f"{count(size, 'byte')}{compressed}"


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
