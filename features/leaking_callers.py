"""Wrong values for every parameter, and commands that fail, with canaries in all that must not be told."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import os
from collections.abc import Callable
from typing import Any
from unittest import mock

import sessionledger
from canaries import CONTENT, MARK, NOTE, PASSWORD, TITLE, Kind, printed
from leaking import Lab, within
from sessionledger import cli
from sessionledger.cli import context as cli_context

# Wrong values

VALUES: dict[str, object] = {
    "text": CONTENT,
    "a list": [CONTENT],
    "a set": {CONTENT},
    "an object": {CONTENT: CONTENT},
    "an object with a set": {"role": "user", "content": {CONTENT}},
    "a list of objects": [{"role": CONTENT * 9, "content": CONTENT}],
    "bytes": CONTENT.encode(),
    "a long text": CONTENT * 1000,
    "NUL": f"{CONTENT}\0",
    "a lone surrogate": f"{CONTENT}\ud800",
}


def input_kinds(context: Any) -> list[Kind]:
    """Every parameter of every method, given each of the values; some of them are right."""
    with contextlib.closing(context.world.database()) as database:
        session_id = context.world.service_of(database).create().session_id
    right = {"session_id": session_id, "key": "ticket/4711", "role": "user", "content": "Hello", "file": io.BytesIO()}
    right["messages"] = [{"role": "user", "content": "Hello"}]

    def call(method: str, parameters: list[inspect.Parameter], name: str, value: object) -> None:
        needed = {each.name: right[each.name] for each in parameters if each.default is each.empty}
        getattr(context.world.service, method)(**(needed | {name: value}))

    kinds = []
    for method, function in inspect.getmembers(sessionledger.SessionService, inspect.isfunction):
        if method.startswith("_") or method == "close":
            continue
        parameters = list(inspect.signature(function).parameters.values())[1:]
        for parameter in parameters:
            for shape, value in VALUES.items():
                run = functools.partial(call, method, parameters, parameter.name, value)
                kinds.append(Kind(f"{method}, {parameter.name}: {shape}", run, Exception))
    return kinds


# The command line


def command_kinds(context: Any) -> list[Kind]:
    """Commands that end with exit code 1 or 2."""
    password = f"postgresql://ann:{PASSWORD}@127.0.0.1:1/ledger"

    def command(*arguments: str, script: str = "", url: str | None = None) -> Callable[[], str]:
        def run(it: Lab) -> str:
            it.load(script or "SELECT 1")
            filled = [each.replace("{session}", it.session_id) for each in arguments]
            environment = os.environ | {"SESSIONLEDGER_DATABASE_URL": url or it.url}
            with mock.patch.dict(os.environ, environment), mock.patch.object(cli_context, "RETRY_SECONDS", 0.2):
                return printed(lambda: cli.main(filled))

        return within(context, run)

    index = context.world.kind.refusals["a CHECK"]
    unknown, damage = sessionledger.new_id(), f"UPDATE sessions SET metadata = '{MARK}'"
    return [
        Kind(f"command: {name}", run, str)
        for name, run in {
            "an append that the database refuses": command("append", "{session}", CONTENT, script=index),
            "an append to no session": command("append", unknown, CONTENT),
            "an append to no id": command("append", "no-id", CONTENT),
            "an append with a role of two words": command("append", "{session}", CONTENT, "--role", f"{MARK} {MARK}"),
            "an append with metadata that is no JSON": command("append", "{session}", "Hi", "--metadata", NOTE),
            "an append without quotes": command("append", "{session}", CONTENT, CONTENT),
            "an append with an option that is none": command("append", "{session}", CONTENT, "--colour"),
            "a new session with a title too long": command("new", "--title", TITLE * 1000),
            "a row that cannot be read": command("show", "{session}", script=damage),
            "a server that is away": command("list", url=password),
            "a server that is away, by option": command("--database", password, "list"),
            "a password in the query": command("list", url=f"postgresql://db.example/x?password={PASSWORD}"),
            "a key's password in the query": command("list", url=f"postgresql://db.example/x?sslpassword={PASSWORD}"),
            "a URL that is none": command("list", url=f"postgres:/ann:{PASSWORD}@db.example/x"),
            "an @ in the password": command("list", url=f"postgresql://ann:x@{PASSWORD}@127.0.0.1:1/x"),
            "an upgrade of a server that is away": command("db", "upgrade", url=password),
        }.items()
    ]
