"""The relational database: models, repositories, the unit of work and its executor.

`schema` (upgrade, verify) and `aio` (callers that await) are imported by name: they bring Alembic and greenlet. The
models are imported when they are asked for: they bring SQLAlchemy's ORM, which takes as long as half of the rest.
"""

from typing import TYPE_CHECKING, Any

from sessionledger.infrastructure.database.engine import Database
from sessionledger.infrastructure.database.repositories import (
    ResourceRepository,
    SessionMessageRepository,
    SessionRepository,
    TokenUsageRepository,
)
from sessionledger.infrastructure.database.retry import database_retry

if TYPE_CHECKING:
    from sessionledger.infrastructure.database.models import (
        ResourceModel,
        SessionMessageModel,
        SessionModel,
        TokenUsageModel,
    )
from sessionledger.infrastructure.database.unit_of_work import UnitOfWork

__all__ = [
    "Database",
    "ResourceModel",
    "ResourceRepository",
    "SessionMessageModel",
    "SessionMessageRepository",
    "SessionModel",
    "SessionRepository",
    "TokenUsageModel",
    "TokenUsageRepository",
    "UnitOfWork",
    "database_retry",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from sessionledger.infrastructure.database import models

        return getattr(models, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
