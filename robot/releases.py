"""Robot's keywords for releases: the last one of git, as a wheel in an environment of its own, beside today's."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import sqlalchemy
from robot.api.deco import keyword, library
from robot.libraries.BuiltIn import BuiltIn

from outside import CHECKOUT, _done, outside

FUTURE = "zz_001_future"


@library(scope="GLOBAL")
class releases:  # noqa: N801 - Robot names a library after its file
    """Wheels of releases, and what they do with a ledger."""

    @property
    def _outside(self) -> outside:
        return BuiltIn().get_library_instance("outside")

    @keyword
    def last_release(self) -> str | None:
        """The newest tag `v*` that today's code comes from; `None` where nothing was released."""
        told = _git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname")
        return next(iter(told.decode().split()), None)

    @keyword
    def wheel_of(self, tag: str) -> str:
        """Build a tag's wheel from what git has of it."""
        folder = self._outside.folder / f"release-{secrets.token_hex(4)}"
        with tarfile.open(fileobj=BytesIO(_git("archive", "--format=tar", tag))) as archive:
            archive.extractall(folder, filter="data")
        build = self._outside.folder / "build" / "bin" / "python"  # made when the outside was entered
        done = _done([build, "-m", "build", "--wheel", "--outdir", folder / "dist", folder], cwd=folder, seconds=300)
        assert done.rc == 0, f"{tag} cannot be built: {done.stdout}{done.stderr}"
        [wheel] = (folder / "dist").glob("*.whl")
        return str(wheel)

    @keyword
    def todays_wheel(self) -> str:
        """The wheel of this checkout."""
        return str(self._outside.wheel)

    @keyword
    def installed_wheel(self, wheel: str) -> str:
        """Install a wheel with all extras into a new environment; return the folder of its programs."""
        folder = self._outside.folder / f"release-{secrets.token_hex(4)}"
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([sys.executable, "-m", "venv", folder], [*pip, f"{wheel}[all]"]):
            done = _done(command, cwd=self._outside.folder, seconds=300)
            assert done.rc == 0, f"{wheel} cannot be installed: {done.stdout}{done.stderr}"
        return str(folder / "bin")

    @keyword
    def todays_programs(self) -> str:
        """Where today's wheel is installed already."""
        return str(self._outside.programs)

    @keyword
    def release_does(self, programs: str, verb: str, **values: Any) -> Any:
        """Run a verb of `helper_last_release.py` on an installed release; return what it gives."""
        command = [Path(programs) / "python", self._outside.elsewhere / "helper_last_release.py", verb]
        done = _done([*command, json.dumps(values)], cwd=self._outside.elsewhere)
        if done.rc:
            raise AssertionError(f"the release fails: {done.stderr.strip().splitlines()[-1]}")
        return json.loads(done.stdout.splitlines()[-1])

    @keyword
    def change_tables(self, url: str, *statements: str) -> None:
        """Change a database's tables past the library, as the migrations of a newer release would."""
        engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            for statement in (*statements, f"UPDATE sessionledger_revision SET version_num = '{FUTURE}'"):
                connection.exec_driver_sql(statement)
        engine.dispose()


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, check=True).stdout
