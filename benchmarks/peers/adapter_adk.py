"""Google ADK: `DatabaseSessionService`, SQLAlchemy on aiosqlite and asyncpg."""

from google.adk.events import Event
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.adk.sessions.schemas.v1 import StorageEvent, StorageSession
from google.genai import types
from peer import Peer
from sqlalchemy.ext.asyncio import AsyncSession

WHO = {"app_name": "app", "user_id": "user"}


def event(text):
    return Event(author="user", invocation_id="i", content=types.Content(role="user", parts=[types.Part(text=text)]))


class OnSQLAlchemy(Peer):
    packages = ("google-adk", "sqlalchemy", "aiosqlite", "asyncpg")
    notes = (
        "No call takes a batch: W2 is a hundred calls. No page: W5 reads every session.",
        "The session object is held in memory, all events but its own unread; a new invocation reads them all.",
        "W6: a session that another writer changed is refused; the caller reads it again and goes on.",
    )

    async def open(self, target, make):
        url = f"sqlite+aiosqlite:///{target}"
        if target.startswith("postgresql"):
            url = target.replace("postgresql://", "postgresql+asyncpg://")
        self.service = DatabaseSessionService(url)
        if make:
            await self.service.prepare_tables()

    async def session(self, name, make):
        if make:
            return await self.service.create_session(**WHO, session_id=name)
        return await self.service.get_session(**WHO, session_id=name, config=GetSessionConfig(num_recent_events=1))

    async def append(self, session, text):
        await self.service.append_event(session, event(text))

    async def turn(self, session, text):
        try:
            await self.append(session, text)
        except Exception:
            fresh = await self.session(session.id, make=False)
            session.__dict__.update(fresh.__dict__)
            session.__pydantic_private__ = fresh.__pydantic_private__
            raise

    async def append_many(self, session, texts):
        for text in texts:
            await self.append(session, text)

    async def fill(self, session, texts):
        for at in range(0, len(texts), 1000):  # its model's rows: a call each would take minutes
            async with AsyncSession(self.service.db_engine) as orm:
                orm.add_all(StorageEvent.from_event(session, event(text)) for text in texts[at : at + 1000])
                await orm.commit()

    async def last(self, session, count):
        config = GetSessionConfig(num_recent_events=count)
        found = await self.service.get_session(**WHO, session_id=session.id, config=config)
        return [each.content.parts[0].text for each in found.events]

    async def add_sessions(self, count):
        await self.service.create_session(**WHO)  # and the rest as rows of its model
        async with AsyncSession(self.service.db_engine) as orm:
            orm.add_all(StorageSession(**WHO, id=f"listed-{at}", state={}) for at in range(count))
            await orm.commit()

    async def page(self, number):  # noqa: ARG002 - it has no pages
        return len((await self.service.list_sessions(**WHO)).sessions)

    async def close(self):
        await self.service.close()


PEERS = {"adk-database": OnSQLAlchemy}
