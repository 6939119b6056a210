"""Robot's keywords for the world outside the checkout: a wheel in a new environment, databases, programs.

Everything stands in one temporary folder, which `Leave The Outside` removes. What is tested is the installed wheel;
this process needs the checkout's own package for nothing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from robot.api import logger
from robot.api.deco import keyword, library
from robot.utils import DotDict

CHECKOUT = Path(__file__).resolve().parent.parent
HELPERS = sorted(Path(__file__).parent.glob("helper_*.py"))
SECONDS = 120

sys.path.append(str(CHECKOUT / "features"))
import postgresql  # noqa: E402 - the launcher of the features' server


@library(scope="GLOBAL")
class outside:  # noqa: N801 - Robot names a library after its file
    """The temporary folder, what is installed in it, and the databases."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._server = ""
        self._templates: dict[str, str] = {}

    # The installed wheel

    @keyword
    def enter_the_outside(self) -> None:
        """Build the sdist and from it the wheel, and install the wheel with all extras into a new environment."""
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sessionledger-robot-")))
        self.elsewhere = self._made("elsewhere")
        with ThreadPoolExecutor() as pool:
            built, installed = pool.submit(self._build), pool.submit(self._make_environment, "installed")
            self.sdist, self.wheel = built.result()
            self.programs = installed.result()
        self._pip(self.programs, f"{self.wheel}[all]")
        for helper in HELPERS:
            shutil.copy(helper, self.elsewhere)
        server = self._stack.enter_context(postgresql.running())
        self._server = server.replace("+psycopg", "")

    @keyword
    def leave_the_outside(self) -> None:
        """Stop what runs and remove the folder."""
        self._stack.close()

    @keyword
    def files_in_the_wheel(self) -> list[str]:
        """The names of the wheel's files."""
        with zipfile.ZipFile(self.wheel) as wheel:
            return wheel.namelist()

    @keyword
    def files_in_the_sdist(self) -> list[str]:
        """The names of the sdist's files, below its one folder."""
        with tarfile.open(self.sdist) as sdist:
            return [name.partition("/")[2] for name in sdist.getnames()]

    @keyword
    def migrations_in_the_checkout(self) -> list[str]:
        """The files of the migrations, relative to their folder."""
        folder = CHECKOUT / "migrations"
        return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.suffix in {".py", ".mako"})

    @keyword
    def checkout(self) -> str:
        """The checkout's folder."""
        return str(CHECKOUT)

    def _build(self) -> tuple[Path, Path]:
        programs = self._make_environment("build")
        self._pip(programs, "build")
        self._run([programs / "python", "-m", "build", "--outdir", self.folder / "dist", CHECKOUT])
        [sdist], [wheel] = (list((self.folder / "dist").glob(name)) for name in ("*.tar.gz", "*.whl"))
        return sdist, wheel

    def _make_environment(self, name: str) -> Path:
        self._run([sys.executable, "-m", "venv", self.folder / name])
        return self.folder / name / "bin"

    def _pip(self, programs: Path, what: str) -> None:
        self._run([programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", what])

    def _run(self, command: list[str | Path]) -> str:
        done = _done(command, cwd=self.folder, seconds=600)
        if done.rc:
            raise AssertionError(f"{command} ended with {done.rc}: {done.stdout}{done.stderr}")
        return done.stdout

    # Databases

    @keyword
    def new_database(self, kind: str, tables: str = "yes") -> str:
        """Make a database of a kind, `sqlite` or `postgresql`, with or without our tables; return its URL."""
        if tables == "no":
            return self._made_database(kind)
        if kind not in self._templates:
            self._templates[kind] = self._made_database(kind)
            self.helper("helper_session_persistence", "upgrade", url=self._templates[kind])
        return self._made_database(kind, self._templates[kind])

    def _made_database(self, kind: str, template: str | None = None) -> str:
        name = f"robot_{secrets.token_hex(6)}"
        if kind == "sqlite":
            file = self.folder / f"{name}.db"
            if template:
                shutil.copy(template.removeprefix("sqlite:///"), file)
            return f"sqlite:///{file}"
        like = f' TEMPLATE "{urlsplit(template).path[1:]}"' if template else ""
        with psycopg.connect(self._server, autocommit=True) as server:
            server.execute(f'CREATE DATABASE "{name}"{like}')
        self._stack.callback(self._drop, name)
        return urlunsplit(urlsplit(self._server)._replace(path=f"/{name}"))

    @keyword
    def with_password(self, url: str, password: str) -> str:
        """The same server's URL, with a password in it, and a database that does not exist."""
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"someone:{password}@{host}", path="/no_such_database"))

    @keyword
    def run_sql_on_a_file(self, url: str, statement: str) -> None:
        """Run SQL on an SQLite database, past the library."""
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
            database.execute(statement)

    def _drop(self, name: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as server:
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    # Programs

    @keyword
    def helper(self, name: str, verb: str, **values: Any) -> Any:
        """Run one verb of a helper in a process of its own, on the installed wheel; return what it found."""
        [found] = self._helpers(name, verb, [values])
        return found

    @keyword
    def helpers_at_once(self, name: str, verb: str, processes: int, **values: Any) -> list[Any]:
        """Run a verb in several processes, which begin together when all are ready; each gets its own `writer`."""
        return self._helpers(name, verb, [{**values, "writer": writer} for writer in range(int(processes))])

    def _helpers(self, name: str, verb: str, calls: list[dict[str, Any]]) -> list[Any]:
        command = [self.programs / "python", self.elsewhere / f"{name}.py"]
        processes = [
            subprocess.Popen(
                [*command, verb, json.dumps(values)],
                cwd=self.elsewhere,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for values in calls
        ]
        try:
            for process in processes:  # each says that it is ready, and waits for all to be
                if process.stdout.readline().strip() != "ready":
                    raise AssertionError(f"{name} did not start: {process.communicate()[1]}")
            for process in processes:
                process.stdin.write("go\n")
                process.stdin.flush()
            return [self._answer(name, process) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.communicate()

    def _answer(self, name: str, process: subprocess.Popen[str]) -> Any:
        out, err = process.communicate(timeout=SECONDS)
        if process.returncode:
            raise AssertionError(f"{name} ended with {process.returncode}: {err}")
        if err:
            logger.info(err)
        found = json.loads(out)
        return DotDict(found) if isinstance(found, dict) else found

    @keyword
    def run_installed(self, *command: str, stdin: str = "", **variables: str) -> DotDict:
        """Run a program of the installed wheel's environment elsewhere; gives `rc`, `stdout`, `stderr`, `json`."""
        program, *arguments = command
        return _done([self.programs / program, *arguments], cwd=self.elsewhere, stdin=stdin, variables=variables)

    @keyword
    def new_folder(self) -> str:
        """An empty folder outside the checkout."""
        return str(self._made(f"folder-{secrets.token_hex(4)}"))

    @keyword
    def copy_of_migrations(self) -> str:
        """A folder with the checkout's `alembic.ini` and `migrations` (as the sdist took them), and nothing else."""
        folder = self._made(f"deploy-{secrets.token_hex(4)}")
        with tarfile.open(self.sdist) as sdist:
            for member in filter(tarfile.TarInfo.isfile, sdist):
                name = member.name.partition("/")[2]
                if name == "alembic.ini" or name.startswith("migrations/"):
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(sdist.extractfile(member).read())
        return str(folder)

    @keyword
    def run_alembic(self, folder: str, *arguments: str) -> DotDict:
        """Run the environment's `alembic` in a folder."""
        return _done([self.programs / "alembic", *arguments], cwd=Path(folder))

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    # The README

    @keyword
    def fresh_copy_of_the_checkout(self) -> str:
        """Every file that git knows, or would not ignore, in an empty folder."""
        folder = self._made(f"checkout-{secrets.token_hex(4)}")
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (CHECKOUT / name).is_file():  # not one deleted since
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(CHECKOUT / name, folder / name)
        return str(folder)

    @keyword
    def command_in_the_readme(self, heading: str) -> str:
        """The one line of the one `sh` block below a heading."""
        return command_below((CHECKOUT / "README.md").read_text(encoding="utf-8"), heading)

    @keyword
    def run_line(self, folder: str, line: str) -> DotDict:
        """Run a line as a person would who has just opened a shell in a folder."""
        return _done(["bash", "-c", line], cwd=Path(folder), seconds=900)

    @keyword
    def split_last_command(self, line: str) -> tuple[str, str]:
        """What stands before the last `&&`, and the program that the last command starts."""
        before, _, last = line.rpartition("&&")
        return before.strip(), shlex.split(last)[0]

    # What was found, and what a program said

    @keyword
    def say(self, title: str, found: dict[str, int]) -> None:
        """Print what was counted."""
        counts = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in found.items())
        logger.console(f"\n    {title}: {counts}")

    @keyword
    def should_succeed(self, done: DotDict) -> None:
        """The exit code is 0."""
        assert done.rc == 0, f"exit code {done.rc}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr

    @keyword
    def should_fail_in_one_line(self, done: DotDict, code: int, *words: str) -> None:
        """The exit code is as given, nothing is on standard output, and one clear line on standard error."""
        assert done.rc == int(code), f"exit code {done.rc}, not {code}\n{done.stdout}\n{done.stderr}"
        assert not done.stdout, f"on standard output: {done.stdout}"
        lines = done.stderr.splitlines()
        assert len(lines) == 1, f"{len(lines)} lines on standard error:\n{done.stderr}"
        assert lines[0].startswith("sessionledger: "), lines[0]
        for word in words:
            assert word in lines[0], f"{word!r} is not in: {lines[0]}"

    @keyword
    def flip_a_bit(self, path: str, place: int) -> str:
        """A copy of a file in which one bit is different."""
        data = bytearray(Path(path).read_bytes())
        data[int(place)] ^= 1
        flipped = Path(f"{path}.flipped")
        flipped.write_bytes(data)
        return str(flipped)


def command_below(text: str, heading: str) -> str:
    """The one line of the one `sh` block in the section of a heading."""
    sections = re.split(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    found = [section for title, section in zip(sections[1::2], sections[2::2], strict=True) if title == heading]
    assert len(found) == 1, f"the README has {len(found)} headings {heading!r}"
    blocks = re.findall(r"^```sh\n(.*?)^```", found[0], flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, f"{heading!r} has {len(blocks)} sh blocks"
    [line] = blocks[0].splitlines()
    return line


def _environment(**more: str) -> dict[str, str]:
    """The environment without what this run added to it, so that nothing leads back into the checkout."""
    ours = ("PYTHON", "SESSIONLEDGER_", "COVERAGE", "NOX", "VIRTUAL_ENV", "XDG_DATA_HOME")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more


def _done(
    command: list[str | Path],
    *,
    cwd: Path,
    stdin: str = "",
    variables: dict[str, str] | None = None,
    seconds: float = SECONDS,
) -> DotDict:
    environment = _environment(**(variables or {}))
    ran = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    logger.info(f"{shlex.join(map(str, command))}\nexit code {ran.returncode}\n{ran.stdout}\n{ran.stderr}")
    try:
        value = json.loads(ran.stdout)
    except ValueError:
        value = None
    value = DotDict(value) if isinstance(value, dict) else value
    return DotDict(rc=ran.returncode, stdout=ran.stdout, stderr=ran.stderr, json=value)
