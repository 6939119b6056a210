"""Mutations of archives whose digest is made right again, so that only the rules between the lines can refuse them.

A mutation moves, exchanges, doubles or drops lines or whole sessions, brings in lines or sessions or the header of
another archive, or exchanges the values of a field between two lines; no value is written anew. Of `preceding_sha256`
there are two ways: left as it was, where up to three moves follow one another, or made right again, where there is one
move, and not the one that puts a foreign session in the place of one: that is another archive, rightly made.

What leaves the records as they were is none, and so is what happens to be the archive that a line was taken from.
A field is bound where a rule holds it against something else in the archive. The others (`FREE`) may be changed by
whoever makes the digest right again; against that there are signatures.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import inspect
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from archives import Item, archive, invented, spans, unsealed
from sessionledger.domain.archive import reader, records, structure
from sessionledger.domain.content import canonical_text

Lines = list[bytes]
Step = Callable[[random.Random, Lines, Lines], Lines]

BOUND = ("session_id", "sequence", "content", "content_sha256", "record", "last_sequence", "usage", "preceding_sha256")
FREE = ("role", "created_at", "metadata", "title", "actor_name", "model", "message_id")

_PRECEDING = re.compile(rb'"preceding_sha256":"[0-9a-f]{64}"')
EXCHANGES = 0.25
"""The share of the mutations that exchange a field. Never two in one: a content and then its hash are no mistake."""


def sources() -> list[Lines]:
    """Archives to mutate and to take lines from: alike in shape, of one session, of empty ones, and a later state."""

    def conversations(*lengths: int, seed: int) -> list[list[Item]]:
        return [invented(length, seed + number) for number, length in enumerate(lengths)]

    made = [
        archive(conversations(4, 7, 5, seed=1), "first"),
        archive(conversations(4, 7, 5, seed=11), "second"),  # of the same counts: the headers are equal
        archive(conversations(4, 7, 9, seed=1), "first"),  # the first, later on
        archive(conversations(6, seed=21), "single"),
        archive(conversations(6, seed=31), "other single"),
        archive(conversations(0, 3, 0, 0, seed=41), "empty"),
        archive(conversations(0, 3, 0, 0, seed=51), "other empty"),
    ]
    return [unsealed(data) for data in made]


# Steps: each takes the lines, and those of another archive


def _two(chance: random.Random, lines: Lines) -> tuple[int, int]:
    return chance.randrange(len(lines)), chance.randrange(len(lines))


def swap_lines(chance: random.Random, lines: Lines, _: Lines) -> Lines:
    one, other = _two(chance, lines)
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def move_line(chance: random.Random, lines: Lines, _: Lines) -> Lines:
    one, other = _two(chance, lines)
    lines.insert(other, lines.pop(one))
    return lines


def reverse_lines(chance: random.Random, lines: Lines, _: Lines) -> Lines:
    start, end = sorted(_two(chance, lines))
    return [*lines[:start], *reversed(lines[start : end + 1]), *lines[end + 1 :]]


def drop_lines(chance: random.Random, lines: Lines, _: Lines) -> Lines:
    start = chance.randrange(len(lines))
    return lines[:start] + lines[start + chance.choice((1, 1, 2, 5)) :]


def double_line(chance: random.Random, lines: Lines, _: Lines) -> Lines:
    one, other = _two(chance, lines)
    lines.insert(chance.choice((one, other)), lines[one])
    return lines


def insert_line(chance: random.Random, lines: Lines, others: Lines) -> Lines:
    lines.insert(chance.randrange(len(lines)), chance.choice(others))
    return lines


def replace_line(chance: random.Random, lines: Lines, others: Lines) -> Lines:
    """A line of messages or usage; a session's is `replace_session`'s."""
    at = chance.randrange(len(lines))
    if b'"preceding_sha256":' not in lines[at]:
        lines[at] = chance.choice(others)
    return lines


def replace_header(_: random.Random, lines: Lines, others: Lines) -> Lines:
    return [others[0], *lines[1:]]


def _blocks(lines: Lines) -> list[Lines]:
    return [[lines[at] for at in span] for span in spans(lines)]


def _joined(lines: Lines, blocks: Sequence[Lines]) -> Lines:
    return [*lines[:1], *(line for block in blocks for line in block)]


def move_session(chance: random.Random, lines: Lines, _: Lines) -> Lines:
    blocks = _blocks(lines)
    if blocks:
        blocks.insert(chance.randrange(len(blocks)), blocks.pop(chance.randrange(len(blocks))))
    return _joined(lines, blocks)


def drop_session(chance: random.Random, lines: Lines, _: Lines) -> Lines:
    blocks = _blocks(lines)
    if blocks:
        blocks.pop(chance.randrange(len(blocks)))
    return _joined(lines, blocks)


def double_session(chance: random.Random, lines: Lines, _: Lines) -> Lines:
    blocks = _blocks(lines)
    if blocks:
        blocks.insert(chance.randrange(len(blocks) + 1), chance.choice(blocks))
    return _joined(lines, blocks)


def insert_session(chance: random.Random, lines: Lines, others: Lines) -> Lines:
    blocks = [*_blocks(lines), chance.choice(_blocks(others))]
    if chance.random() < 0.5:
        blocks.sort(key=_session_id)
    else:
        chance.shuffle(blocks)
    return _joined(lines, blocks)


def _session_id(block: Lines) -> str:
    return str(json.loads(block[0]).get("session_id"))  # none where the header stands there


def replace_session(chance: random.Random, lines: Lines, others: Lines) -> Lines:
    blocks = _blocks(lines)
    if blocks:
        blocks[chance.randrange(len(blocks))] = chance.choice(_blocks(others))
    return _joined(lines, blocks)


def exchange(chance: random.Random, lines: Lines, name: str) -> Lines:
    """Exchange the values of a field between two lines."""
    having = [at for at, line in enumerate(lines) if b'"%s":' % name.encode() in line]
    if len(having) < 2:
        return lines
    one, other = chance.sample(having, 2)
    values = json.loads(lines[one]), json.loads(lines[other])
    if all(name in each for each in values):  # it may stand inside of the content only
        values[0][name], values[1][name] = values[1][name], values[0][name]
        for at, each in zip((one, other), values, strict=True):
            lines[at] = canonical_text(each).encode() + b"\n"
    return lines


def exchange_bound(chance: random.Random, lines: Lines, _: Lines) -> Lines:
    return exchange(chance, lines, chance.choice(BOUND))


MOVES: tuple[Step, ...] = (
    swap_lines,
    move_line,
    reverse_lines,
    drop_lines,
    double_line,
    insert_line,
    replace_line,
    replace_header,
    move_session,
    drop_session,
    double_session,
    insert_session,
)


def chained(lines: Lines) -> Lines:
    """The lines with every `preceding_sha256` made right."""
    digest = hashlib.sha256()
    made = []
    for line in lines:
        right = b'"preceding_sha256":"%s"' % digest.hexdigest().encode()
        made.append(_PRECEDING.sub(right, line, count=1))
        digest.update(made[-1])
    return made


def records_of(lines: Lines) -> Lines:
    """What the lines say: all but the digests of what comes before."""
    return [_PRECEDING.sub(b"", line) for line in lines]


def mutated(chance: random.Random, archives: Sequence[Lines], *, rechained: bool) -> tuple[str, Lines] | None:
    """One mutation, with the name of its last step; `None` where nothing has changed."""
    original, others = chance.sample(archives, 2)
    lines = list(original)
    if chance.random() < EXCHANGES:
        steps: list[Step] = [exchange_bound]
    else:
        steps = chance.choices(
            MOVES if rechained else (*MOVES, replace_session), k=1 if rechained else chance.randint(1, 3)
        )
    for step in steps:
        if lines:
            lines = step(chance, lines, others)
    if rechained:
        lines = chained(lines)
    said = records_of(lines)
    unchanged = said == records_of(original) or any(lines == source for source in archives)
    return None if unchanged else (steps[-1].__name__, lines)


def mutations(archives: Sequence[Lines], seed: int) -> Iterator[tuple[str, Lines]]:
    """Mutations without an end, of both ways in turn."""
    chance = random.Random(seed)
    while True:
        for rechained in (False, True):
            if (made := mutated(chance, archives, rechained=rechained)) is not None:
                yield f"{made[0]}{', rechained' if rechained else ''}", made[1]


# The reader without one of its rules


def rules_off() -> Iterator[tuple[str, AbstractContextManager[Any]]]:
    """The rules between records and that of the content's hash, each with what switches it off."""
    for module, name in ((structure, "Structure"), (records, "message_record")):
        tree = ast.parse(inspect.getsource(getattr(module, name)))
        for number, rule in enumerate(_raises(tree)):
            without = copy.deepcopy(tree)
            _Without(_raises(without)[number]).visit(without)
            made = dict(vars(module))
            # Annotations stay texts, as in the module.
            code = compile(ast.fix_missing_locations(without), name, "exec", flags=annotations_flag())
            exec(code, made)
            yield rule_of(rule), switched_off(name, made[name])


def annotations_flag() -> int:
    import __future__

    return __future__.annotations.compiler_flag


def switched_off(name: str, made: Any) -> AbstractContextManager[Any]:
    if name == "message_record":  # it is held in a table
        return mock.patch.dict(records._READ, message=made)
    return mock.patch.object(reader, name, made)


def _raises(tree: ast.AST) -> list[ast.Raise]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]


def rule_of(rule: ast.Raise) -> str:
    """The rule in the words of its error."""
    return " ".join(
        node.value for node in ast.walk(rule) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ).strip()


class _Without(ast.NodeTransformer):
    """Puts `pass` in the place of a `raise`."""

    def __init__(self, rule: ast.Raise) -> None:
        self._rule = rule

    def visit_Raise(self, node: ast.Raise) -> ast.stmt:
        return ast.Pass() if node is self._rule else node
