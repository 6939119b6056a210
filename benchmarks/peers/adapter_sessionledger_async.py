"""sessionledger itself, this checkout, for callers that await."""

from adapter_sessionledger import Blocking
from peer import PAGE

import sessionledger


class Awaiting(Blocking):
    async def connect(self, url):
        self.sessions = await sessionledger.connect_async(url)

    async def session(self, name, make):
        found = await (self.sessions.get_or_create(name) if make else self.sessions.find(name))
        return found.session_id

    async def append(self, session, text):
        await self.sessions.append_message(session, "user", text)

    async def turn(self, session, text):
        await self.append(session, text)

    async def append_many(self, session, texts):
        await self.sessions.append_messages(session, [{"role": "user", "content": text} for text in texts])

    async def fill(self, session, texts):
        for at in range(0, len(texts), 1000):
            await self.append_many(session, texts[at : at + 1000])

    async def last(self, session, count):
        return [message.content for message in await self.sessions.get_messages(session, last=count)]

    async def positions(self, session):
        return [message.sequence for message in await self.sessions.get_messages(session)]

    async def page(self, number):
        if number not in self.cursors:
            cursor = None
            for _ in range(number):
                cursor = (await self.sessions.list(limit=PAGE, cursor=cursor)).next_cursor
            self.cursors[number] = cursor
        return len((await self.sessions.list(limit=PAGE, cursor=self.cursors[number])).sessions)

    async def close(self):
        await self.sessions.close()


PEERS = {"sessionledger-async": Awaiting}
