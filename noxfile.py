"""Every check of the project: `nox` runs them all, `nox -s features` one, `nox -l` tells which there are.

Each session has an environment of its own, made from the dependency groups of pyproject.toml. No service and no
variable has to be set: a PostgreSQL for the tests comes with them (features/postgresql.py).
"""

import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = True

PROJECT = nox.project.load_toml("pyproject.toml")
BUILD = Path("build")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def install(session: nox.Session, group: str, *, package: bool = True) -> None:
    """Install a dependency group and, unless told otherwise, the package with all its extras."""
    editable = ["-e", ".[all]"] if package else []
    session.install(*editable, *nox.project.dependency_groups(PROJECT, group))


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lint rules, of the code and of the migrations' SQL (.squawk.toml)."""
    install(session, "lint")
    session.run("ruff", "format", "--check", ".", ".ci/results.py")
    session.run("ruff", "check", ".", ".ci/results.py")
    BUILD.mkdir(exist_ok=True)
    sql, careless = BUILD / "upgrade.sql", BUILD / "careless.sql"
    with sql.open("w") as file:
        session.run("sessionledger", "db", "upgrade", "--sql", "--database", "postgresql://", stdout=file)
    session.run("squawk", str(sql))
    # The control: on top of the same, an index that would keep writers out.
    careless.write_text(sql.read_text() + "\nBEGIN;\nCREATE INDEX IF NOT EXISTS ix ON sessions (title);\nCOMMIT;\n")
    found = session.run("squawk", str(careless), success_codes=[1], silent=True)
    if "require-concurrent-index-creation" not in found:
        session.error(f"squawk does not see what it is for: {found}")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    install(session, "types")
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """Who may import whom."""
    install(session, "layers")
    session.run("lint-imports", "--no-cache")


@nox.session
def features(session: nox.Session) -> None:
    """The contract in words, on SQLite and PostgreSQL, sync and async."""
    install(session, "features")
    session.run("python", "features", *session.posargs)


for version in PROJECT["project"]["classifiers"]:
    # `nox -s features-3.13`: the same on another Python, where it is installed.
    number = version.removeprefix("Programming Language :: Python :: ")
    if number != version and number != RUNNING:
        nox.session(features.func, python=number, name=f"features-{number}", default=False)


@nox.session
def coverage_report(session: nox.Session) -> None:
    """How much of the source the features before it ran; below the bound in pyproject.toml it fails."""
    install(session, "coverage", package=False)
    data = BUILD / "coverage"
    if not any(data.glob(".coverage.*")):
        session.error("there is nothing to report on; run: nox -s features")
    session.env["COVERAGE_FILE"] = str(BUILD / ".coverage")
    session.run("coverage", "combine", "--keep", "--quiet", str(data))
    session.run("coverage", "html", "--quiet", "--directory", str(BUILD / "htmlcov"))
    session.run("coverage", "report")


@nox.session
def robot(session: nox.Session) -> None:
    """What needs an outside: the installed wheel, the command line."""
    install(session, "robot")
    with_server = ("python", "features/postgresql.py", "--")
    shutil.rmtree(BUILD / "robot", ignore_errors=True)
    session.run(*with_server, "robot", "--outputdir", str(BUILD / "robot"), *session.posargs, "robot")


@nox.session
def faults_short(session: nox.Session) -> None:
    """A short version of every fault, and of each control that must fail."""
    install(session, "faults")
    session.run("python", "faults", *session.posargs)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Every fault with the figures of docs/reliability.md; it takes long."""
    install(session, "faults")
    session.run("python", "faults", "--full", *session.posargs)


@nox.session(default=False)
def benchmark(session: nox.Session) -> None:
    """See that every benchmark runs; `-- --full` measures, `-- --publish` writes the tables and plots of the docs."""
    install(session, "benchmark")
    chosen = [argument for argument in session.posargs if argument != "--full"]
    quick = [] if {"--full", "--publish"} & set(session.posargs) else ["--quick"]
    session.run("python", "benchmarks/run.py", *quick, *chosen)
    if not chosen:
        with_server = ("python", "benchmarks/real_databases.py", "--")
        session.run("asv", "machine", "--yes")
        session.run(*with_server, "asv", "run", "--python=same", "--show-stderr", *quick)


@nox.session(default=False)
def peers(session: nox.Session) -> None:
    """Other stores of conversations beside ours, each in its own environment; `-- --quick` only sees that it runs."""
    install(session, "benchmark")
    session.run("python", "benchmarks/peers/run.py", *session.posargs)


@nox.session(default=False)
def ten_million(session: nox.Session) -> None:
    """Measure on ten million messages, which takes long; `-- --messages 20000` shows that it runs."""
    install(session, "benchmark")
    session.run("python", "benchmarks/ten_million.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, strictly: a link that leads nowhere fails."""
    install(session, "docs")
    session.run("mkdocs", "build", "--strict", "--site-dir", str(BUILD / "site"))
