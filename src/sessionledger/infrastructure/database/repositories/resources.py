"""The registry of resources: the things outside the ledger that sessions belong to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ScalarSelect, and_, literal_column, select

from sessionledger.domain.ids import derived_id
from sessionledger.infrastructure.database.dialects import dialect_of
from sessionledger.infrastructure.database.drivers import HeldConnection
from sessionledger.infrastructure.database.repositories.tables import insert_new
from sessionledger.infrastructure.database.tables import RESOURCES

WORKSPACE = "workspace"


class ResourceRepository:
    """The table `resources`."""

    def __init__(self, held: HeldConnection) -> None:
        self._held = held

    def register(self, namespace: str, kind: str, name: str, *, at: datetime) -> str:
        """Return the id of a resource by its name; store it if it is new."""
        query = select(RESOURCES.c.resource_id).where(_named(namespace, kind, name))
        found: str | None = self._held.connection.execute(query).scalars().first()
        if found is not None:
            return found
        resource_id = derived_id("resource", namespace, kind, name)
        row = {
            "resource_id": resource_id,
            "namespace": namespace,
            "kind": kind,
            "name": name,
            "aliases": [],
            "created_at": at,
            "updated_at": at,
        }
        self._held.connection.execute(insert_new(dialect_of(self._held), "resources"), [row])
        return resource_id


def _named(namespace: Any, kind: str, name: Any) -> Any:
    return and_(RESOURCES.c.namespace == namespace, RESOURCES.c.kind == kind, RESOURCES.c.name == name)


def workspace_id(namespace: Any, name: Any) -> ScalarSelect[Any]:
    """The id of the workspace of a name, to stand inside another query."""
    found = select(RESOURCES.c.resource_id).where(_named(namespace, WORKSPACE, name))
    return found.limit(literal_column("1")).scalar_subquery()
