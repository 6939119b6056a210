"""The relational database: models, repositories, the unit of work and its executor.

`schema` (upgrade, verify) and `aio` (callers that await) are imported by name: they bring Alembic and greenlet.
"""

from sessionledger.infrastructure.database.engine import Database, UnitOfWork, database_retry
from sessionledger.infrastructure.database.models import (
    ResourceModel,
    SessionMessageModel,
    SessionModel,
    TokenUsageModel,
)
from sessionledger.infrastructure.database.repositories import (
    ResourceRepository,
    SessionMessageRepository,
    SessionRepository,
    TokenUsageRepository,
)

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
