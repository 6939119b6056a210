"""`archive …`: archives by themselves, without a database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from sessionledger.cli import machine, sources, tables, values, words
from sessionledger.cli.context import Context, UsageError
from sessionledger.cli.files import replacing
from sessionledger.cli.verified import Reading
from sessionledger.domain.archive import SigningKey
from sessionledger.domain.content import JSON
from sessionledger.domain.errors import SessionLedgerError

InContext = Annotated[Context, Parameter(parse=False)]
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
Names = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]

app = App(name="archive", help="Verify, show and sign archives; no database is needed.")


@app.command
def verify(
    *files: Annotated[str, Parameter(required=True)],
    require_signature: Names = (),
    signature: str | None = None,
    allow: Names = (),
    special_file: Flag = False,
    context: InContext,
) -> None:
    """Verify archives whole: every byte, every record; exit code 1 if one is refused.

    Args:
        files: The files; - is standard input.
        require_signature: Refuse what is not signed with this public key (PEM), or one of several: give it again.
        signature: Where the signature is; by default beside the file, with the ending .sig.
        allow: NAME=NUMBER, again for several: allow more (or less) sessions, messages, size, line, ratio, …
        special_file: A file may be a link, which is followed, or a FIFO or device.
        context: How the command was started.
    """
    sources.check_signature_options(files, require_signature, signature)
    keys = sources.trusted_keys(require_signature, special=special_file)
    reading = Reading(context, values.limits(allow), special_file, keys, signature)
    for file, found, refused in sources.each_file(files, reading.read):
        if context.json:
            told = {"error": refused} if found is None else found.machine()
            context.print_json({"file": file, "ok": found is not None, **told})
        elif found is not None:
            context.print(f"{sources.called(file)}: OK, {found.counts()}, {found.form()}, {found.signed}")


@app.command
def show(
    file: str,
    /,
    *,
    limit: int = 50,
    allow: Names = (),
    special_file: Flag = False,
    context: InContext,
) -> None:
    """Verify an archive, and show its header and its sessions.

    Args:
        file: The file; - is standard input.
        limit: How many sessions at most.
        allow: NAME=NUMBER, again for several: allow more (or less) sessions, messages, size, line, ratio, …
        special_file: The file may be a link, which is followed, or a FIFO or device.
        context: How the command was started.
    """
    if limit < 0:
        raise UsageError("--limit must be from 0")
    found = Reading(context, values.limits(allow), special_file, sessions=limit).read(file)
    if context.json:
        listed: list[JSON] = [machine.session(each) for each in found.sessions]
        context.print_json({"file": file, **found.machine(), "listed": listed})
        return
    context.print(found.counts())
    context.print(found.form())
    context.print(f"written by {found.header.generator}, schema revision {found.header.schema_revision}")
    context.print(str(found.signed))
    if limit:
        tables.sessions(context, found.sessions, archive=True)
    if more := found.header.sessions - len(found.sessions):
        context.note(f"{words.count(more, 'session')} more: --limit {found.header.sessions}")


@app.command
def sign(file: str, /, *, key: str, allow: Names = (), special_file: Flag = False, context: InContext) -> None:
    """Verify an archive, and write its signature beside it, with the ending .sig.

    Args:
        file: The file.
        key: The private key (PEM).
        allow: NAME=NUMBER, again for several: allow more (or less) sessions, messages, size, line, ratio, …
        special_file: The files may be links, which are followed, or FIFOs or devices.
        context: How the command was started.
    """
    if file == "-":
        raise UsageError("a signature is written beside a file; name one")
    private = sources.signing_key(key, special=special_file)
    beside = sources.signature_file(file)
    found = Reading(context, values.limits(allow), special_file).read(file)
    signature = private.sign(found.sha256, Path(file).name)
    with replacing(Path(beside), special=special_file) as target:
        target.write(signature)
    if context.json:
        signed = {"key_id": private.key_id, "sha256": found.sha256, "signature_file": beside}
        context.print_json({"file": file, **signed})
    else:
        context.print(f"signed {file}, SHA-256 {found.sha256}, with key {private.key_id}: {beside}")


@app.command
def keygen(*, output: Annotated[str, Parameter(alias="-o")] = "signing", context: InContext) -> None:
    """Make a pair of keys, one to sign with and one to give to those who verify, and print their id.

    Args:
        output: What the files are called: NAME.pem is the private key, for you alone; NAME.pub.pem the public one.
        context: How the command was started.
    """
    private, public = f"{output}.pem", f"{output}.pub.pem"
    key = SigningKey.generate()
    with _new(Path(private), key.to_pem()), _new(Path(public), key.public_key.to_pem()):
        pass
    if context.json:
        context.print_json({"key_id": key.key_id, "private_key": private, "public_key": public})
    else:
        context.print(f"{key.key_id}  sign with {private}, and keep it to yourself; verify with {public}")


class KeyExistsError(SessionLedgerError):
    """A file is in the place of a new key; nothing has been written."""


@contextmanager
def _new(path: Path, content: bytes) -> Iterator[None]:
    """Write a file that is not there yet, and take it back if the block fails."""
    try:  # the name is taken first, by which two that do this at once cannot both have it
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise KeyExistsError(
            f"{path} is there already, and a key is never overwritten; give another name with -o"
        ) from None
    try:
        with replacing(path) as file:
            file.write(content)
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
