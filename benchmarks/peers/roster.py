"""Who is measured, and the environment that each family of peers runs in."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parent.parent / "build" / "peers"


@dataclass(frozen=True)
class Entry:
    """One that is measured.

    Attributes:
        name: Its key in the adapter's `PEERS`.
        family: The requirements file beside this one; none is this checkout's own environment.
        title: Its name in the tables.
        databases: Where it is measured.
        adapter: The adapter's module.
    """

    name: str
    family: str | None
    title: str
    databases: tuple[str, ...] = ("sqlite", "postgresql")
    adapter: str = ""

    @property
    def module(self) -> str:
        """The adapter's module."""
        return self.adapter or f"adapter_{self.family}"


FLOOR, AGAIN, OURS, CONTROL = "floor", "floor-again", "sessionledger", "naive"
ALWAYS = (FLOOR, AGAIN, OURS)

ENTRIES = (
    Entry(FLOOR, None, "the floor", adapter="adapter_floor"),
    Entry(AGAIN, None, "control: the floor again", adapter="adapter_floor"),
    Entry(OURS, None, "sessionledger", adapter="adapter_sessionledger"),
    Entry("sessionledger-async", None, "sessionledger, awaiting", adapter="adapter_sessionledger_async"),
    Entry(CONTROL, None, "control: MAX()+1 without an index", adapter="adapter_naive"),
    Entry("openai-sqlite", "openai", "OpenAI Agents `SQLiteSession`", ("sqlite",)),
    Entry("openai-sqlalchemy", "openai", "OpenAI Agents `SQLAlchemySession`"),
    Entry("adk-database", "adk", "Google ADK `DatabaseSessionService`"),
    Entry("adk-sqlite", "adk", "Google ADK `SqliteSessionService`", ("sqlite",), "adapter_adk_sqlite"),
    Entry("langgraph", "langgraph", "LangGraph saver"),
    Entry("langchain-postgres", "langchain", "langchain-postgres", ("postgresql",)),
    Entry("agno", "agno", "Agno"),
    Entry("llamaindex-core", "llamaindex", "LlamaIndex `SQLAlchemyChatStore`"),
    Entry(
        "llamaindex-sqlite", "llamaindex", "LlamaIndex `SQLiteChatStore`", ("sqlite",), "adapter_llamaindex_packages"
    ),
    Entry(
        "llamaindex-postgres",
        "llamaindex",
        "LlamaIndex `PostgresChatStore`",
        ("postgresql",),
        "adapter_llamaindex_packages",
    ),
    Entry("strands", "strands", "Strands `FileSessionManager`", ("sqlite",)),
)


class NotInstalled(Exception):  # noqa: N818 - a peer that is not there is a finding, told with its reason
    """A family's environment could not be made; the text says why."""


def python_of(family: str | None) -> Path:
    """The interpreter of a family's environment; it is made first if there is none for these very requirements."""
    if family is None:
        return Path(sys.executable)
    requirements = HERE / f"{family}.txt"
    made_from = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    folder = BUILD / family
    interpreter, stamp = folder / "bin" / "python", folder / "made-from"
    if not stamp.exists() or stamp.read_text() != made_from:
        print(f"Installing {family} …", file=sys.stderr, flush=True)
        _run(family, [sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run(family, [*pip, "-r", str(requirements)])
        stamp.write_text(made_from)
    return interpreter


def _run(family: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("ERROR")]
        raise NotInstalled(f"{family} could not be installed: {' '.join(errors)[:300] or done.stderr[-300:]}")
