"""The command line, called in this process where it can be, so that its coverage counts, and as a process where not."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from sessionledger.cli import main
from sessionledger.domain.archive import TrustedKey
from sessionledger.infrastructure.database.revision import EXPECTED

ULID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Stream(io.TextIOWrapper):
    """A standard stream in memory that may say it is a terminal."""

    def __init__(self, content=b"", encoding="utf-8", terminal=False):
        super().__init__(io.BytesIO(content), encoding=encoding, newline="")
        self._terminal = terminal

    def isatty(self):
        return self._terminal

    @property
    def written(self):
        self.flush()
        return self.buffer.getvalue()


@dataclass
class Outcome:
    status: int
    raw: bytes
    err: str

    @property
    def out(self):
        return ESCAPES.sub("", self.raw.decode(errors="backslashreplace"))

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def json(self):
        return json.loads(self.out)


class CommandLine:
    """The command line as one user has it: an environment, a folder for files, and the session last made."""

    def __init__(self, context):
        self.world = context.world
        self.folder = Path(
            self.world.stack.enter_context(tempfile.TemporaryDirectory(prefix="sessionledger-command-line-"))
        )
        self.file = self.folder / "files" / "session.archive"
        self.file.parent.mkdir()
        self.conversations = self.folder / "conversations.json"
        self.recorded = context.conversations_file
        self.environment = {"SESSIONLEDGER_DATABASE_URL": self.world.url, "HOME": str(self.folder)}
        self.other = None
        self.made = []
        self.session = None
        self.outcome = None

    def filled(self, text):
        key = self.folder / "mine.pub.pem"
        cursor = re.search(r'"next_cursor": "(\S+)"', self.outcome.out) if self.outcome else None
        names = {
            "SESSION": self.session,
            **dict(zip(("FIRST", "SECOND", "THIRD"), self.made, strict=False)),
            "FILE": self.file,
            "FOLDER": self.folder,
            "DEEP": "[" * 100_000,
            "CONVERSATIONS": self.conversations,
            "RECORDED": self.recorded,
            "REVISION": EXPECTED,
            "KEY": TrustedKey.from_pem(key.read_bytes()).key_id if key.is_file() and key.stat().st_size else None,
            "CURSOR": cursor[1] if cursor else None,
        }
        return re.sub(rf"\b({'|'.join(names)})\b", lambda found: str(names[found[1]]), text)

    def path(self, text):
        return Path(self.filled(text))

    def words(self, text):
        return shlex.split(self.filled(text))

    def run(self, text, given=b"", terminal=False, width=100, encoding="utf-8", url=None):
        streams = {"stdin": Stream(given, terminal=terminal)}
        streams |= {name: Stream(encoding=encoding, terminal=terminal) for name in ("stdout", "stderr")}
        environment = os.environ | self.environment | {"TERM": "xterm-256color", "COLUMNS": str(width)}
        if url:
            environment["SESSIONLEDGER_DATABASE_URL"] = url
        for name in {"SESSIONLEDGER_DATABASE_URL", "XDG_DATA_HOME"} - (
            self.environment.keys() | ({"SESSIONLEDGER_DATABASE_URL"} if url else set())
        ):
            environment.pop(name, None)
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, environment, clear=True))
            for name, stream in streams.items():
                stack.enter_context(mock.patch.object(sys, name, stream))
            status = main(self.words(text))
        err = ESCAPES.sub("", streams["stderr"].written.decode())
        self.outcome = Outcome(status, streams["stdout"].written, err)

    def run_process(self, text, given=b"", stdout=subprocess.PIPE, program=("-m", "sessionledger")):
        done = subprocess.run(
            [sys.executable, *program, *self.words(text)],
            env=os.environ | self.environment | {"PYTHONUNBUFFERED": ""},
            input=given,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )
        self.outcome = Outcome(done.returncode, done.stdout or b"", done.stderr.decode())

    def sessions(self):
        return self.world.service.list(limit=1000, order="oldest").sessions


def tool_call(number, name, /, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    calls = [{"id": f"call_{number}", "type": "function", "function": function}]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def told(context):
    outcome = context.line.outcome
    return f"exit code {outcome.status}\n{outcome.out}\n{outcome.err}"
