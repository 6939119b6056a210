"""The services: the contract on a relational database."""

from sessionledger.application.services.persistent import AsyncPersistentSessionService, PersistentSessionService

__all__ = ["AsyncPersistentSessionService", "PersistentSessionService"]
