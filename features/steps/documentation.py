"""Steps that run what the documentation shows and compare what it lists with the code."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from alembic.config import Config
from alembic.script import ScriptDirectory
from behave import then, when
from behave.runner import Context
from sqlalchemy import CheckConstraint, Constraint, ForeignKeyConstraint, PrimaryKeyConstraint, Table
from sqlalchemy.dialects import postgresql, sqlite

import sessionledger
from sessionledger import cli
from sessionledger.domain import errors
from sessionledger.infrastructure.database import revision, schema
from sessionledger.infrastructure.database.tables import METADATA

BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#\s]+)")
CODE = re.compile(r"`([^`]+)`")
MARK = "\x1e"
HELP_WIDTH = "100"
COMMON_GROUP = re.compile(r"^╭─ Options of every command ─.*?╯\n", re.MULTILINE | re.DOTALL)

SQLITE, POSTGRESQL = sqlite.dialect(), postgresql.dialect()
TABLES = METADATA.tables


# The examples


def blocks(context: Context, page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: their language and their text."""
    return BLOCK.findall((context.checkout / page).read_text())


def run_in_empty_folder(context: Context, command: list[str], script: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a reader would, with a server's URL in DATABASE_URL and nothing else set up."""
    folder = context.world.stack.enter_context(tempfile.TemporaryDirectory(prefix="sessionledger-docs-"))
    environment = {name: value for name, value in os.environ.items() if name != "SESSIONLEDGER_DATABASE_URL"}
    environment |= {
        "DATABASE_URL": context.world.elsewhere(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_DATA_HOME": folder,
        "PYTHONIOENCODING": "utf-8",
    }
    return subprocess.run(
        command,
        input=script,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@when("the Python examples of {page} are run in an empty folder")
def run_examples(context: Context, page: str) -> None:
    found = blocks(context, page)
    scripts = [text for language, text in found if language == "python"]
    # What an example prints stands in the `text` block behind it; without one it prints nothing.
    context.expected = [
        following[1] if following[0] == "text" else ""
        for (language, _), following in zip(found, [*found[1:], ("", "")], strict=True)
        if language == "python"
    ]
    script = f"\nprint({MARK!r}, end='')\n".join(scripts)
    context.run = run_in_empty_folder(context, [sys.executable, "-"], script)


@then("they print what the page says")
def examples_print(context: Context) -> None:
    assert context.run.returncode == 0, context.run.stderr
    for printed, expected in zip(context.run.stdout.split(MARK), context.expected or [""], strict=True):
        assert printed == expected, f"the page says:\n{expected}\nbut it is:\n{printed}"


@when("the commands of {page} are run in an empty folder")
def run_commands(context: Context, page: str) -> None:
    scripts = [text for language, text in blocks(context, page) if language == "sh"]
    assert scripts, f"{page} shows no command"
    context.run = run_in_empty_folder(context, ["sh", "-eu"], "\n".join(scripts))


@then("they end well")
def commands_end_well(context: Context) -> None:
    assert context.run.returncode == 0, f"{context.run.stdout}\n{context.run.stderr}"


# The command line


def help_of(*command: str) -> str:
    """What `--help` prints, without the options that every command has."""
    printed = io.StringIO()
    with mock.patch.dict(os.environ, {"COLUMNS": HELP_WIDTH}), contextlib.redirect_stdout(printed):
        assert not cli.main([*command, "--help"])
    text = printed.getvalue() if not command else COMMON_GROUP.sub("", printed.getvalue()).rpartition("\nTry it")[0]
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def commands(*above: str) -> Iterator[tuple[str, ...]]:
    """Every command, as its words, that the help above it names."""
    for name in re.findall(r"^│ ([a-z]+)  ", help_of(*above), re.MULTILINE):
        yield (*above, name)
        yield from commands(*above, name)


@then("{page} holds the help of every command")
def page_holds_help(context: Context, page: str) -> None:
    told = {text.strip() for language, text in blocks(context, page) if language == "text"}
    printed = {help_of(*command): " ".join(command) for command in [(), *commands()]}
    assert len(printed) > 10, "the help names too few commands"
    stale = [command or "sessionledger" for text, command in printed.items() if text not in told]
    assert not stale, f"the page does not hold what --help prints for: {', '.join(stale)}"
    gone = [text.splitlines()[0] for text in told - set(printed) if text.startswith("Usage:")]
    assert not gone, f"the page holds the help of commands that are not there: {gone}"


# The database schema


def sections(context: Context, page: str) -> dict[str, dict[str, list[list[str]]]]:
    """The tables of a page: by section, by the first word of their heads, their rows of cells."""
    found: dict[str, dict[str, list[list[str]]]] = {}
    for section in re.split(r"^## ", (context.checkout / page).read_text(), flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        kinds = found[title.strip("` ")] = {}
        for head, rows in re.findall(r"^(\|.*\|)\n\| ---.*\n((?:\|.*\n)*)", text, re.MULTILINE):
            kinds[cells(head)[0]] = [cells(row) for row in rows.splitlines()]
    return found


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def described(context: Context, kind: str) -> dict[str, list[list[str]]]:
    """The rows of one kind, for every table that the page describes."""
    return {name: found.get(kind, []) for name, found in context.described.items() if "column" in found}


@then("{page} describes the tables of the models and no others")
def page_describes_tables(context: Context, page: str) -> None:
    context.described = sections(context, page)
    context.page = page
    assert set(described(context, "column")) == set(TABLES)


@then("for each table it describes the columns, with types, nulls and defaults")
def page_describes_columns(context: Context) -> None:
    defaults = POSTGRESQL.ddl_compiler(POSTGRESQL, None)
    for name, rows in described(context, "column").items():
        columns = [
            (
                column.name,
                column.type.compile(SQLITE),
                column.type.compile(POSTGRESQL),
                "yes" if column.nullable else "no",
                defaults.get_column_default_string(column) or "",
            )
            for column in TABLES[name].c
        ]
        assert [tuple(cell.strip("`") for cell in row[:5]) for row in rows] == columns, name
        assert all(row[5] for row in rows), f"{name}: a column has no meaning"


@then("for each table it describes the indexes")
def page_describes_indexes(context: Context) -> None:
    for name, rows in described(context, "index").items():
        indexes = {
            (str(index.name), tuple(column.name for column in index.columns), "yes" if index.unique else "no")
            for index in TABLES[name].indexes
        }
        told = [(row[0].strip("`"), tuple(CODE.findall(row[1])), row[2]) for row in rows]
        assert set(told) == indexes, name
        assert len(told) == len(indexes), name


@then("for each table it describes the constraints")
def page_describes_constraints(context: Context) -> None:
    for name, rows in described(context, "constraint").items():
        constraints = {
            (POSTGRESQL.identifier_preparer.format_constraint(each), rule(TABLES[name], each))
            for each in TABLES[name].constraints
        }
        told = [(row[0].strip("`"), tuple(CODE.findall(row[1]))) for row in rows]
        assert set(told) == constraints, name
        assert len(told) == len(constraints), name


def rule(table: Table, constraint: Constraint) -> tuple[str, ...]:
    """The words of a constraint's rule that stand in code."""
    if isinstance(constraint, PrimaryKeyConstraint):
        return tuple(column.name for column in constraint.columns)
    if isinstance(constraint, ForeignKeyConstraint):
        (element,) = constraint.elements
        return (element.parent.name, element.target_fullname)
    assert isinstance(constraint, CheckConstraint), f"{table.name}: a kind of constraint that is new to the page"
    return tuple(str(constraint.sqltext).split(" AND "))


@then("its diagram shows every table and column")
def diagram_shows_columns(context: Context) -> None:
    page = context.checkout / context.page
    (image,) = re.findall(r"!\[[^]]*\]\(([^)]+\.svg)\)", page.read_text())
    drawn = re.findall(r"<text[^>]*>([^<]+)</text>", (page.parent / image).read_text())
    expected = [word for table in TABLES.values() for word in (table.name, *(column.name for column in table.c))]
    assert sorted(drawn) == sorted(expected)


@then("{page} tells the revisions in their order")
def page_tells_revisions(context: Context, page: str) -> None:
    rows = next(found["revision"] for found in sections(context, page).values() if "revision" in found)
    assert tuple(row[0].strip("`") for row in rows) == revision.REVISIONS


@then("the migrations are a chain of the same revisions")
def migrations_are_chain(context: Context) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    chain = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(chain)) == revision.REVISIONS


# The errors


def tree_of_classes() -> list[tuple[int, str]]:
    """Every error with its depth, each behind its base, in the order of their definition."""

    def below(kind: type, depth: int) -> Iterator[tuple[int, str]]:
        yield depth, kind.__name__
        for each in kind.__subclasses__():
            if each.__module__ == errors.__name__:
                yield from below(each, depth + 1)

    return list(below(errors.SessionLedgerError, 0))


def tree_of_text(text: str) -> list[tuple[int, str]]:
    """The same, read from a drawn tree."""
    lines = re.findall(
        r"^((?:[│ ] {3})*)([├└]── )?(\w+Error)\b", text[text.index("SessionLedgerError") :], re.MULTILINE
    )
    return [(len(bars) // 4 + bool(branch), name) for bars, branch, name in lines]


@then("the tree in the docstring of the errors is that of the classes")
def tree_is_true(context: Context) -> None:
    drawn = re.sub(r"^ {4}", "", errors.__doc__ or "", flags=re.MULTILINE)
    assert tree_of_text(drawn) == tree_of_classes()


@then("{page} shows the same tree and describes every error")
def page_shows_tree(context: Context, page: str) -> None:
    (drawn,) = (text for language, text in blocks(context, page) if language == "text")
    assert tree_of_text(drawn) == tree_of_classes()
    described = re.findall(
        r"^::: sessionledger\.domain\.errors\.(\w+)$", (context.checkout / page).read_text(), re.MULTILINE
    )
    assert described == [name for _, name in tree_of_classes()]


@then("every error is one of the package's public names")
def errors_are_public(context: Context) -> None:
    assert {name for _, name in tree_of_classes()} <= set(sessionledger.__all__)


# The archive


@then("the archive in {page} can be imported")
def archive_can_be_imported(context: Context, page: str) -> None:
    (archive,) = (text for language, text in blocks(context, page) if language == "json")
    receipt = context.world.service.import_sessions(io.BytesIO(archive.encode()))
    assert receipt.messages > 0, receipt


# The links


@then("every link of {pages} leads to a file")
def links_lead_to_files(context: Context, pages: str) -> None:
    dead: list[Any] = []
    for page in re.split(r", | and ", pages):
        found = LINK.findall((context.checkout / page).read_text())
        dead += [(page, link) for link in found if not (context.checkout / page).parent.joinpath(link).exists()]
    assert not dead, dead


@then("every test file that {pages} name is there")
def test_files_are_there(context: Context, pages: str) -> None:
    for page in pages.split(" and "):
        named = re.findall(r"`((?:features|robot)/[\w./]+\.\w+)`", (context.checkout / page).read_text())
        assert named, f"{page} names no test"
        missing = [path for path in named if not (context.checkout / path).exists()]
        assert not missing, f"{page} names tests that are not there: {missing}"


@then("{page} tells what each fault and each control found, on each of its databases")
def page_tells_faults(context: Context, page: str) -> None:
    listed = subprocess.run(
        [sys.executable, context.checkout / "faults", "--list"], capture_output=True, text=True, check=True
    )
    rows = [line for line in (context.checkout / page).read_text().splitlines() if line.startswith("| ")]
    faults = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    assert faults
    missing = [
        f"{name} on {database}"
        for name, database, title in faults
        if not any(title in row and f"| {database} |" in row for row in rows)
    ]
    assert not missing, f"the page does not tell of {missing}"
