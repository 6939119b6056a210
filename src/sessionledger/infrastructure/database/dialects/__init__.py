"""What differs between databases: `dialect.py` says what may differ, and each database has one file that says how.

A difference is a capability of a `Dialect`; what a database cannot do it refuses aloud.
"""

from sessionledger.infrastructure.database.dialects.dialect import Beside, CallCancelledError, Dialect
from sessionledger.infrastructure.database.dialects.engines import (
    checked_url,
    create,
    create_file,
    dialect_of,
    prepare,
    served_by_threads,
)
from sessionledger.infrastructure.database.dialects.errors import overflow, refused, translated
from sessionledger.infrastructure.database.dialects.postgresql import POSTGRESQL, chooses_transactions
from sessionledger.infrastructure.database.dialects.sqlite import SQLITE

__all__ = [
    "POSTGRESQL",
    "SQLITE",
    "Beside",
    "CallCancelledError",
    "Dialect",
    "checked_url",
    "chooses_transactions",
    "create",
    "create_file",
    "dialect_of",
    "overflow",
    "prepare",
    "refused",
    "served_by_threads",
    "translated",
]
