"""`export`: sessions as an archive, or one in a format for others to read."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from cyclopts import Group, Parameter

from sessionledger.cli import machine, readable, sources, values, words
from sessionledger.cli.bars import bars, follow
from sessionledger.cli.context import Context, UsageError
from sessionledger.cli.files import replacing
from sessionledger.domain.archive import ArchiveLimits, ArchiveReceipt, Compression, Signature, SigningKey

InContext = Annotated[Context, Parameter(parse=False)]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

_ENDINGS: dict[str, Compression] = {".zst": "zstd", ".gz": "gzip"}
_NO_DIGEST = "0" * 64


@Parameter(name="*", group=Group("With --all", sort_key=80))
@dataclass(frozen=True)
class Filters:
    """Which of all sessions are meant."""

    actor: str | None = None
    """Only those of this actor."""
    workspace: str | None = None
    """Only those of this workspace."""
    since: str | None = None
    """Only those that changed since: a date or a time (without a zone it is UTC), or an age: 30m, 12h, 7d, 2w."""
    no_archived: Flag = False
    """Without those that are archived."""


@Parameter(name="*", group=Group("Of an archive", sort_key=90))
@dataclass(frozen=True)
class ArchiveOptions:
    """How an archive is written."""

    compress: Literal["zstd", "gzip", "none"] | None = None
    """By default what the file's ending says: .zst or .gz, else none. zstd needs the extra archives."""
    sign_key: str | None = None
    """Sign it with this private key (PEM): the signature is written beside it, with the ending .sig."""


ALL_OF_THEM = Filters()
AS_USUAL = ArchiveOptions()


def export(
    *session_ids: str,
    every: Annotated[bool, Parameter(name="--all", negative=(), show_default=False)] = False,
    filters: Filters = ALL_OF_THEM,
    format: Literal["archive", "openai-chat", "markdown", "html"] = "archive",  # noqa: A002 - the design's word
    archive: ArchiveOptions = AS_USUAL,
    output: Annotated[str, Parameter(alias="-o")] = "-",
    special_file: Flag = False,
    context: InContext,
) -> None:
    """Write sessions as one verified archive, or one session in a format for others to read.

    Args:
        session_ids: The sessions' ids.
        every: All sessions of the namespace, archived ones as well.
        filters: Which of all.
        format: archive is verified, and of any number of sessions; the others are of one:
            openai-chat is JSON that import reads, markdown and html are pages for people.
            What these three cannot carry is said on standard error.
        archive: How an archive is written.
        output: The file to write, replaced whole or not at all; - is standard output.
        special_file: The file may be a link, which is followed, or a FIFO or device, which is written to.
        context: How the command was started.
    """
    if every == bool(session_ids):
        raise UsageError("name the sessions by their ids or take all of them with --all" + (", not both" * every))
    if not every and filters != ALL_OF_THEM:
        raise UsageError("--actor, --workspace, --since and --no-archived go with --all")
    if format != "archive":
        if archive != AS_USUAL:
            raise UsageError("--compress and --sign-key go with --format archive")
        if len(session_ids) != 1:
            raise UsageError(f"{format} is for one session; give one id (an archive holds any number)")
        readable.export(context, session_ids[0], format, output, special=special_file)
        return
    if output == "-" and sys.stdout.isatty():
        raise UsageError("an archive is no text for a terminal; name a file: -o session.archive")
    target = _Target(output, _compression(archive.compress, output), special=special_file)
    if archive.sign_key is not None:
        target.key = _signing_key(archive.sign_key, target)
    _export_archive(context, session_ids, filters, target)


def _export_archive(context: Context, session_ids: tuple[str, ...], filters: Filters, target: "_Target") -> None:
    since = values.time("--since", filters.since)
    with context.connect() as sessions, bars(context) as progress, target.opened() as file:
        begun = time.perf_counter()
        receipt = sessions.export_sessions(
            file,
            session_ids=session_ids or None,
            actor_name=filters.actor,
            workspace=filters.workspace,
            include_archived=not filters.no_archived,
            since=since,
            compression=target.compression,
            follow=follow(progress),
        )
        target.receipt = receipt
    _report(context, target, receipt, time.perf_counter() - begun)


@dataclass(slots=True)
class _Target:
    """Where an archive goes, and how."""

    output: str
    compression: Compression | None
    special: bool
    key: SigningKey | None = None
    receipt: ArchiveReceipt | None = None

    @property
    def name(self) -> str:
        return Path(self.output).name

    @property
    def signature(self) -> str | None:
        """The path of the signature that is written."""
        return None if self.key is None else sources.signature_file(self.output)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the file; with a key, its signature is put in place right after it."""
        if self.output == "-":
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        with ExitStack() as stack:
            # Opened first, so that a signature that cannot be written is told before anything is.
            beside = self.signature and stack.enter_context(replacing(Path(self.signature), special=self.special))
            yield stack.enter_context(replacing(Path(self.output), special=self.special))
            if beside and self.key and self.receipt:
                beside.write(self.key.sign(self.receipt.sha256, self.name))


def _signing_key(file: str, target: _Target) -> SigningKey:
    if target.output == "-":
        raise UsageError("--sign-key needs a file: -o FILE; one from a pipe is signed with: sessionledger archive sign")
    key = sources.signing_key(file, special=target.special)
    Signature(key.key_id, target.name, _NO_DIGEST)  # a name that no signature can hold is told before the work
    return key


def _compression(asked: str | None, output: str) -> Compression | None:
    if asked is None:
        return _ENDINGS.get(Path(output).suffix)
    return next((each for each in _ENDINGS.values() if each == asked), None)


def _report(context: Context, target: _Target, receipt: ArchiveReceipt, seconds: float) -> None:
    told = f"exported {words.receipt(receipt, target.compression)}"
    signed = f", signed with key {target.key.key_id}" if target.key else ""
    if target.output == "-":
        context.note(f"{told}, in {words.seconds(seconds)}")
    elif context.json:
        context.print_json(
            {
                **machine.receipt(receipt),
                "compression": target.compression,
                "file": target.output,
                "signature_file": target.signature,
                "signature_key_id": target.key and target.key.key_id,
                "seconds": round(seconds, 3),
            }
        )
    else:
        context.print(f"{told} to {target.output}{signed}, in {words.seconds(seconds)}")
    if raised := _limits_beyond(receipt):
        context.note(f"This is more than an import allows by itself: import {raised}")
    old = sources.signature_file(target.output)
    if target.key is None and target.output != "-" and os.path.lexists(old):
        context.note(f"{old} is of an older archive; sign this one with: sessionledger archive sign")


def _limits_beyond(receipt: ArchiveReceipt) -> str:
    """What an import must be allowed for an archive that is larger than the defaults."""
    usual = ArchiveLimits()
    names = ("sessions", "messages", "size", "compressed_size")
    needed = [(name, getattr(receipt, name) or 0) for name in names]
    needed.append(("ratio", -(-receipt.size // (receipt.compressed_size or receipt.size))))
    return " ".join(f"--allow {name}={number}" for name, number in needed if number > getattr(usual, name))
