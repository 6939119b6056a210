"""What `--json` prints: stable keys; times in ISO 8601, in UTC; a cost as a string, because floats round."""

from dataclasses import asdict
from datetime import datetime

from sessionledger.domain.archive import ArchiveReceipt
from sessionledger.domain.content import JSON
from sessionledger.domain.models import Session, SessionMessage, TokenUsage


def usage(value: TokenUsage) -> dict[str, JSON]:
    """`input_tokens`, `output_tokens`, `cached_input_tokens`, `cache_write_tokens`, `reasoning_tokens`, `cost`."""
    return {**asdict(value), "cost": None if value.cost is None else format(value.cost, "f")}


def session(value: Session) -> dict[str, JSON]:
    """The attributes of `Session`, by their names."""
    return {
        "session_id": value.session_id,
        "namespace": value.namespace,
        "key": value.key,
        "title": value.title,
        "actor_name": value.actor_name,
        "workspace": value.workspace,
        "metadata": value.metadata,
        "last_sequence": value.last_sequence,
        "usage": usage(value.usage),
        "version": value.version,
        "created_at": _time(value.created_at),
        "updated_at": _time(value.updated_at),
        "archived_at": _time(value.archived_at),
        "source": None if value.source is None else asdict(value.source),
    }


def message(value: SessionMessage) -> dict[str, JSON]:
    """The attributes of `SessionMessage`, by their names."""
    return {
        "message_id": value.message_id,
        "session_id": value.session_id,
        "sequence": value.sequence,
        "role": value.role,
        "format": value.format,
        "content": value.content,
        "content_sha256": value.content_sha256,
        "tool_call_id": value.tool_call_id,
        "metadata": value.metadata,
        "created_at": _time(value.created_at),
    }


def receipt(value: ArchiveReceipt) -> dict[str, JSON]:
    """The attributes of `ArchiveReceipt`, by their names."""
    return asdict(value)


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")
