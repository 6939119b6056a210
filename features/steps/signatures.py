"""Signatures of archives: made, verified, refused."""

import base64
import hashlib
import itertools
import json
import pickle

from behave import given, then, when
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

import sessionledger
from sessionledger.domain.archive.signatures import (
    Signature,
    SigningKey,
    TrustedKey,
    read_signature,
    verified_signature,
)
from steps.architecture import python
from steps.signing_keys import DIGEST, NAME, openssl_private

OTHER_DIGEST = hashlib.sha256(b"another archive").hexdigest()
CONTEXT = "sessionledger.archive.signature/1"
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
"""The secret key of the first test of RFC 8032, 7.1."""
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@given("an archive's digest, signed with a new key")
def signed(context):
    context.key, context.stranger = SigningKey.generate(), SigningKey.generate()
    context.data = context.key.sign(DIGEST, NAME)


@when("the signature is verified")
def verify(context):
    context.claim = verified_signature(context.data, DIGEST, [context.key.public_key])


@then("it names the key, the archive's name and its digest")
def names_all(context):
    assert context.claim == Signature(context.key.key_id, NAME, DIGEST)


@then("it is verified among other trusted keys, and by the key itself as PEM")
def verified_among(context):
    trusted = {context.stranger.public_key, TrustedKey.from_pem(context.key.public_key.to_pem())}
    assert verified_signature(context.data, DIGEST, trusted) == context.claim


@then("its repr and the repr of its key show the key id and nothing secret")
def reprs(context):
    key_id = context.key.key_id
    assert repr(context.key) == f"SigningKey(key_id='{key_id}')"
    assert repr(context.key.public_key) == f"TrustedKey(key_id='{key_id}')"
    assert repr(context.claim) == f"Signature(key_id='{key_id}', name='{NAME}', sha256='{DIGEST}')"


@given("the key of the first test of RFC 8032")
def rfc_key(context):
    context.key = SigningKey.from_pem(openssl_private(SEED))


@when('it signs the SHA-256 of "{text}" under the name "{name}"')
def signs(context, text, name):
    context.data = context.key.sign(hashlib.sha256(text.encode()).hexdigest(), name)


@then("the signature file is, byte for byte:")
def file_is(context):
    assert context.data == context.text.encode() + b"\n", context.data


@then("it verifies by hand: the context, a NUL byte, and the file's JSON without the signature")
def by_hand(context):
    fields = json.loads(context.data)
    signature = base64.b64decode(fields.pop("signature"))
    key = ed25519.Ed25519PrivateKey.from_private_bytes(SEED).public_key()
    key.verify(signature, CONTEXT.encode() + b"\0" + canonical(fields))


@then("the claim can be read without any key")
def claim_read(context):
    assert read_signature(context.data) == Signature(context.key.key_id, NAME, DIGEST)


@then("a forged claim can be read too, but is not verified")
def forged_read(context):
    forged = context.data.replace(DIGEST.encode(), OTHER_DIGEST.encode())
    assert read_signature(forged).sha256 == OTHER_DIGEST
    assert not accepted(context, forged, OTHER_DIGEST)


def accepted(context, data, digest=DIGEST):
    try:
        verified_signature(data, digest, [context.key.public_key])
    except sessionledger.ArchiveSignatureError:
        return False
    return True


def edited(data, without=(), comment=None, **changes):
    """A signature file with some fields changed, canonical as before."""
    fields = json.loads(data) | changes
    fields["trusted_comment"] = fields["trusted_comment"] if comment is None else fields["trusted_comment"] | comment
    return canonical({name: value for name, value in fields.items() if name not in without}) + b"\n"


def signature_of(data):
    return base64.b64decode(json.loads(data)["signature"])


def with_signature(data, signature):
    return edited(data, signature=base64.b64encode(signature).decode())


def order_added(data):
    signature = signature_of(data)
    return with_signature(
        data, signature[:32] + (int.from_bytes(signature[32:], "little") + GROUP_ORDER).to_bytes(32, "little")
    )


def without_context(context):
    """Signed by the right key, but over the JSON alone."""
    fields = json.loads(context.data)
    del fields["signature"]
    private = SigningKey.from_pem(context.key.to_pem())._private  # noqa: SLF001 - a signer that breaks the rule
    return with_signature(context.data, private.sign(canonical(fields)))


def presented(context, what):
    """What is verified: a file, a digest, and the trusted keys."""
    data, key_id = context.data, context.key.key_id
    stranger = context.stranger.sign(DIGEST, NAME)
    next_context = "sessionledger.archive.signature/2"
    files = {
        "no signature file": lambda: None,
        "no signature file and no key": lambda: None,
        "an empty file": lambda: b"",
        "4096 bytes of the next context": lambda: edited(data, context=next_context).ljust(4096),
        "4097 bytes of the next context": lambda: edited(data, context=next_context).ljust(4097),
        "4096 opening brackets": lambda: b"[" * 4096,
        "bytes that are not UTF-8": lambda: data.replace(b"parcels", b"\xff\xfe"),
        "a list": lambda: b"[" + data.strip() + b"]\n",
        "an empty object": lambda: b"{}\n",
        "a byte order mark before it": lambda: b"\xef\xbb\xbf" + data,
        "a carriage return at its end": lambda: data.strip() + b"\r\n",
        "no line feed at its end": lambda: data.strip(),
        "itself twice": lambda: data + data,
        "a space in it": lambda: data.replace(b",", b", ", 1),
        "a key twice": lambda: data.replace(b"{", b'{"algorithm":"ed25519",', 1),
        "its keys in another order": lambda: (
            json.dumps(dict(reversed(json.loads(data).items())), separators=(",", ":")).encode() + b"\n"
        ),
        "one more field": lambda: edited(data, note="x"),
        "one more trusted field": lambda: edited(data, comment={"note": "x"}),
        "no trusted comment": lambda: edited(data, without=["trusted_comment"]),
        "a trusted comment of null": lambda: edited(data, trusted_comment=None),
        "no signature in it": lambda: edited(data, without=["signature"]),
        "a signature of 63 bytes": lambda: with_signature(data, signature_of(data)[:63]),
        "a signature that is a number": lambda: edited(data, signature=7),
        "another base64 of the same": lambda: other_base64(data),
        "a key id in capitals": lambda: edited(data, key_id="ABCDEF0123456789"),
        "a key id that is a list": lambda: edited(data, key_id=[key_id]),
        "a digest in capitals": lambda: edited(data, comment={"sha256": DIGEST.upper()}),
        "a path as its name": lambda: edited(data, comment={"name": "../parcels.archive"}),
        "a context that is a sentence": lambda: edited(data, context="secret of the sender"),
        "a context that is a number": lambda: edited(data, context=1),
        "the next context": lambda: edited(data, context=next_context),
        "the next context, other fields": lambda: canonical({"context": next_context, "signatures": []}),
        "the algorithm rsa": lambda: edited(data, algorithm="rsa"),
        "a stranger's signature": lambda: stranger,
        "a stranger's signature under the signer's key id": lambda: edited(stranger, key_id=key_id),
        "another name written in": lambda: edited(data, comment={"name": "other.archive"}),
        "this digest written into another archive's": lambda: edited(
            context.key.sign(OTHER_DIGEST, NAME), comment={"sha256": DIGEST}
        ),
        "a signature of zeros": lambda: with_signature(data, bytes(64)),
        "the group's order added to it": lambda: order_added(data),
        "a signature without its context": lambda: without_context(context),
    }
    trusted = {
        "no signature file and no key": [],
        "no trusted key": [],
        "a stranger's key alone": [context.stranger.public_key],
    }.get(what, [context.key.public_key])
    digest = OTHER_DIGEST if what == "the digest of another archive" else DIGEST
    unchanged = {"no trusted key", "a stranger's key alone", "the digest of another archive"}
    file = data if what in unchanged else files[what]()
    assert (file == data) == (what in unchanged)
    return file, digest, trusted


def other_base64(data):
    """The last letter before the padding carries two bits of the 64 bytes; a decoder ignores its other four."""
    text = json.loads(data)["signature"]
    assert text.endswith("A==") or text[-3] in "Qgw"
    changed = text[:-3] + chr(ord(text[-3]) + 1) + "=="
    assert base64.b64decode(changed, validate=True) == base64.b64decode(text)
    return edited(data, signature=changed)


@when("the signature is verified with {what}")
def verify_with(context, what):
    context.shown, digest, trusted = presented(context, what)
    context.world.attempt(lambda: verified_signature(context.shown, digest, trusted), usable=False)


@then("it is not accepted, as {reason:w}")
def not_accepted(context, reason):
    context.error = error = context.world.refusal(sessionledger.ArchiveSignatureError)
    assert error.reason == reason, error
    assert str(error) == f"The archive's signature is not accepted: {error.problem}."
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@then("the error names {names}")
def error_names(context, names):
    error = context.error
    digests = {DIGEST, OTHER_DIGEST}
    key_ids = {context.key.key_id, context.stranger.key_id}
    words = {
        "no key": set(),
        "the signer's key": {context.key.key_id},
        "the stranger's key": {context.stranger.key_id},
        "both digests": digests | {context.key.key_id},
    }.get(names, {names})
    assert (words & key_ids or {None}) == {error.key_id}, error.key_id
    for word in words:
        assert word in str(error) or names == "both digests", error
    if names == "both digests":
        assert (error.expected, error.found) == (DIGEST, OTHER_DIGEST)
        assert all(digest in str(error) for digest in digests), error
    else:
        assert (error.expected, error.found) == (None, None)
    for word in (key_ids | digests | {"secret", "parcels", "other.archive"}) - words:
        assert word not in str(error), error


@then("it is refused with each of its bytes changed into every other")
def changed(context):
    data = context.data
    assert accepted(context, data)
    assert len(data) > 300
    for position, byte in itertools.product(range(len(data)), range(256)):
        if byte != data[position]:
            assert not accepted(context, data[:position] + bytes([byte]) + data[position + 1 :]), (position, byte)


@then("it is refused cut short at each of its bytes")
def cut(context):
    for length in range(len(context.data)):
        assert not accepted(context, context.data[:length]), length


@then("it is refused with any byte added before or behind it")
def added(context):
    for byte in range(256):
        assert not accepted(context, bytes([byte]) + context.data), byte
        assert not accepted(context, context.data + bytes([byte])), byte


@then("a reader that takes any encoding accepts some of them (control)")
def loose(context):
    key = ed25519.Ed25519PublicKey.from_public_bytes(context.key.public_key.raw)

    def takes(data):
        try:
            fields = json.loads(data)
            signature = base64.b64decode(fields.pop("signature"))
            key.verify(signature, CONTEXT.encode() + b"\0" + canonical(fields))
        except (ValueError, KeyError, TypeError, InvalidSignature):
            return False
        return True

    assert takes(context.data)
    assert takes(context.data + b"\n")
    assert takes(context.data[:-1])
    assert takes(other_base64(context.data))


NAMES = {
    "of one letter": "p",
    "of 255 letters": "p" * 255,
    "of 255 emoji": "📦" * 255,
    "with quotes and spaces": '"my" parcels\'s ärchive ',
    "of two dots": "..",
    "of 256 letters": "p" * 256,
    "of no letters": "",
    "with a slash": "a/b",
    "with a backslash": "a\\b",
    "with a line feed": "a\nb",
    "with an escape": "a\x1b[31mb",
    "with NUL": "a\0b",
    "with a line separator": "a\u2028b",
    "with a turned direction": "a\u202egpj.b",
    "with a lone surrogate": "a\udcffb",
    "that is None": None,
}


@when("the archive is signed under the name {name}")
def sign_under(context, name):
    context.name = NAMES[name]
    context.world.attempt(lambda: context.key.sign(DIGEST, context.name), usable=False)


@then("it is verified under that name")
def verified_under(context):
    data = context.world.result
    assert len(data) <= 1327, len(data)
    assert verified_signature(data, DIGEST, [context.key.public_key]).name == context.name


DIGESTS = {
    "in capitals": DIGEST.upper(),
    "of 63": DIGEST[:63],
    "of 65": DIGEST + "0",
    "as bytes": bytes.fromhex(DIGEST),
    "of letters": "g" * 64,
}


@when("an archive with the digest {digest} is signed")
def sign_digest(context, digest):
    context.world.attempt(lambda: context.key.sign(DIGESTS[digest], NAME), usable=False)


@when("the signature is held against the digest {digest}")
def hold_against(context, digest):
    trusted = [context.key.public_key]
    context.world.attempt(lambda: verified_signature(context.data, DIGESTS[digest], trusted), usable=False)


PROGRAMS = {
    "generate a key": "SigningKey.generate()",
    "read a private key": "SigningKey.from_pem(b'')",
    "read a public key": "TrustedKey.from_pem(b'')",
    "write a public key": "key.to_pem()",
    "verify a signature": "verified_signature(data, digest, [key])",
    "read a claim and verify nothing": """
claim = read_signature(data)
try:
    verified_signature(None, digest, [key])
except ArchiveSignatureError as error:
    print(int(error.reason == "missing" and claim.key_id == key.key_id and claim.sha256 == digest))
""",
}


@when("cryptography is missing and a program wants to {do}")
def without_extra(context, do):
    key = SigningKey.generate()
    program = f"""
from sessionledger import ArchiveSignatureError
from sessionledger.domain.archive.signatures import SigningKey, TrustedKey, read_signature, verified_signature
data, digest, key = {key.sign(DIGEST, NAME)!r}, {DIGEST!r}, TrustedKey({key.public_key.raw!r})
{PROGRAMS[do]}
"""
    context.ended = python(program, "cryptography")
