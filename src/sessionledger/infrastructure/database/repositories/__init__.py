"""All the SQL there is. A repository joins a transaction; it never begins, commits or retries one.

`archives` and `verification` are imported by name, where they are needed.

Every query of a service names the namespace, so that a session of another one answers exactly like one that does not
exist. Statements are built once and cached; values are always bound.
"""

from sessionledger.infrastructure.database.repositories.messages import SessionMessageRepository
from sessionledger.infrastructure.database.repositories.resources import WORKSPACE, ResourceRepository
from sessionledger.infrastructure.database.repositories.sessions import Advanced, SessionRepository
from sessionledger.infrastructure.database.repositories.tables import PossibleReplay
from sessionledger.infrastructure.database.repositories.token_usage import TokenUsageRepository

__all__ = [
    "WORKSPACE",
    "Advanced",
    "PossibleReplay",
    "ResourceRepository",
    "SessionMessageRepository",
    "SessionRepository",
    "TokenUsageRepository",
]
