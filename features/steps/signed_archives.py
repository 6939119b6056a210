"""Signed archives, and what is checked first where several things are wrong."""

import base64
import io
import json

from behave import then, when
from cryptography.hazmat.primitives.serialization import load_pem_public_key

import sessionledger
from forged_archives import canonical, chained, edited, sealed

CONTEXT = b"sessionledger.archive.signature/1"


@then("Ed25519 verifies its signature over the context, a NUL and the canonical JSON of the rest")
def verified(context):
    fields = json.loads(context.signature)
    signature = base64.b64decode(fields.pop("signature"), validate=True)
    load_pem_public_key(context.trusted.to_pem()).verify(signature, CONTEXT + b"\0" + canonical(fields).encode())
    assert fields["trusted_comment"]["sha256"] == json.loads(context.archive.splitlines()[-1])["sha256"]
    whole = fields | {"signature": base64.b64encode(signature).decode()}
    assert context.signature == canonical(whole).encode() + b"\n"


def with_fault(context, what):
    """The archive, the signature and the key that is trusted."""
    archive, signature, trusted = context.archive, context.signature, context.trusted
    header, second, third, *others = archive.splitlines()[:-1]
    if "byte changed" in what:
        archive = archive.replace(b"parcel", b"Parcel", 1)
    if "newer version" in what:
        header = edited(header, format_version=2)
    if "broken line" in what:
        third = b"{"
    if "newer version" in what or "broken line" in what:
        archive = sealed(chained([header, second, third, *others]))
    if "no last line" in what:
        archive = archive[: archive.rindex(b'{"sha256"')]
    stranger = sessionledger.SigningKey.generate()
    if "no signature" in what:
        signature = None
    elif what == "a stranger's signature":
        signature = stranger.sign(sha256_of(archive), "signed.archive")
    elif what == "a signature of another archive":
        signature, trusted = stranger.sign("0" * 64, "signed.archive"), stranger.public_key
    elif what == "a changed signature":
        signature = signature.replace(b"signed.archive", b"Signed.archive")
    elif "and signed" in what:
        signature, trusted = stranger.sign(sha256_of(archive), "signed.archive"), stranger.public_key
    assert (archive, signature) != (context.archive, context.signature)
    return archive, signature, trusted


def sha256_of(archive):
    return json.loads(archive.splitlines()[-1])["sha256"]


@when("it is imported with {what}, and its key is required")
def import_signed(context, what):
    archive, signature, trusted = with_fault(context, what)
    service = context.world.service
    context.world.attempt(
        lambda: service.import_sessions(io.BytesIO(archive), signature=signature, trusted_keys=[trusted])
    )


@then("the error says why: {why}")
def says_why(context, why):
    assert getattr(context.error, "reason", None) == why or why in str(context.error), context.error
