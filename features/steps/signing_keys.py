"""Keys that sign archives, and those that are none."""

import base64
import hashlib
import pickle
import traceback

from behave import then, when
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import sessionledger
from sessionledger.domain.archive.signatures import SigningKey, TrustedKey, verified_signature

DIGEST = hashlib.sha256(b"an archive").hexdigest()
NAME = "parcels.archive"


def pem(label, der):
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label, base64.b64encode(der), label)


def openssl_private(seed):
    """As `openssl genpkey -algorithm ed25519` writes it: RFC 8410."""
    return pem(b"PRIVATE KEY", bytes.fromhex("302e020100300506032b657004220420") + seed)


def openssl_public(raw):
    return pem(b"PUBLIC KEY", bytes.fromhex("302a300506032b6570032100") + raw)


@when("{count:d} keys are generated")
def generate(context, count):
    context.keys = [SigningKey.generate() for _ in range(count)]


@then("each comes back from PEM with its key id, and signs as before")
def comes_back(context):
    for key in context.keys:
        private, public = SigningKey.from_pem(key.to_pem()), TrustedKey.from_pem(key.public_key.to_pem())
        assert private.to_pem() == key.to_pem()
        assert private.key_id == public.key_id == key.key_id
        assert private.public_key == public == key.public_key
        assert hash(public) == hash(key.public_key)
        assert private.sign(DIGEST, NAME) == key.sign(DIGEST, NAME)
        assert verified_signature(private.sign(DIGEST, NAME), DIGEST, {public}).key_id == key.key_id


@then("no two of them are equal")
def all_different(context):
    assert len({key.public_key for key in context.keys}) == len(context.keys) == 20


@then("a key id is the first 16 digits of the SHA-256 of the public key's 32 bytes")
def key_ids(context):
    for key in context.keys:
        raw = base64.b64decode(key.public_key.to_pem().splitlines()[1])[-32:]
        assert key.key_id == hashlib.sha256(raw).hexdigest()[:16]


@then("a public key goes through pickle; a private one refuses to")
def pickled(context):
    key = context.keys[0]
    assert pickle.loads(pickle.dumps(key.public_key)) == key.public_key
    try:
        pickle.dumps(key)
    except TypeError:
        return
    raise AssertionError("a private key was pickled")


def private_pem(key, encryption=None, form=PrivateFormat.PKCS8):
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def public_pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_file(use, what):
    """The bytes of a key's file."""
    key = ed25519.Ed25519PrivateKey.generate()
    locked = BestAvailableEncryption(b"a parcel's password")
    private = {
        "PEM as OpenSSL writes it": lambda: openssl_private(key.private_bytes_raw()),
        "an encrypted PEM key": lambda: private_pem(key, locked),
        "an RSA key": lambda: private_pem(rsa_key()),
        "an encrypted RSA key": lambda: private_pem(rsa_key(), locked, PrivateFormat.TraditionalOpenSSL),
        "an Ed448 key": lambda: private_pem(ed448.Ed448PrivateKey.generate()),
        "an X25519 key": lambda: private_pem(x25519.X25519PrivateKey.generate()),
        "an OpenSSH key": lambda: private_pem(key, form=PrivateFormat.OpenSSH),
        "a key for the other use": lambda: public_pem(key),
    }
    public = {
        "PEM as OpenSSL writes it": lambda: openssl_public(key.public_key().public_bytes_raw()),
        "an RSA key": lambda: public_pem(rsa_key()),
        "an Ed448 key": lambda: public_pem(ed448.Ed448PrivateKey.generate()),
        "an X25519 key": lambda: public_pem(x25519.X25519PrivateKey.generate()),
        "an OpenSSH key": lambda: key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "a key for the other use": lambda: private_pem(key),
        "the raw 32 bytes": lambda: key.public_key().public_bytes_raw(),
    }
    own = {"private": private, "public": public}[use]
    plain = own["PEM as OpenSSL writes it"]()
    damages = {
        "PEM with Windows line ends": lambda: plain.replace(b"\n", b"\r\n"),
        "PEM with a comment before it": lambda: b"The key of the parcel desk\n" + plain,
        "no bytes": lambda: b"",
        "garbage": lambda: bytes(range(256)),
        "text instead of bytes": lambda: plain.decode(),
        "20,000 bytes": lambda: plain.ljust(20_000),
        "PEM without its end": lambda: plain.split(b"-----END")[0],
        "PEM of garbage": lambda: pem(b"PRIVATE KEY" if use == "private" else b"PUBLIC KEY", bytes(range(48))),
        "two PEM keys": lambda: plain + plain,
    }
    return (damages | own)[what]()


@when("a {use:w} key is read from {what}")
def read_key(context, use, what):
    context.file = key_file(use, what)
    read = {"private": SigningKey.from_pem, "public": TrustedKey.from_pem}[use]
    context.world.attempt(lambda: read(context.file), usable=False)


@then("it is read")
def is_read(context):
    assert context.world.result.to_pem().splitlines() == context.file.splitlines()[-3:]


@then("neither the error nor what led to it shows any of the key")
def nothing_shown(context):
    error = context.error
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = "".join(traceback.format_exception(error)) + repr(vars(error))
    file = context.file if isinstance(context.file, str) else context.file.decode("latin-1")
    for line in file.splitlines():
        for part in (line[start : start + 12].strip() for start in range(0, len(line), 4)):
            assert len(part) < 6 or part in "-----BEGIN PUBLIC PRIVATE KEY-----" or part not in shown, part


@then("the library accepts one signature of every archive under the key of the identity (control)")
def universal(context):
    identity = bytes([1]) + bytes(31)
    key = ed25519.Ed25519PublicKey.from_public_bytes(identity)
    for number in range(20):
        key.verify(identity + bytes(32), f"archive {number}".encode())


def small_order_points():
    """Every encoding of a point of small order: y and y plus the prime where 255 bits hold it, with both signs."""
    prime = 2**255 - 19
    eighth = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
    for y in (0, 1, prime - 1, eighth, prime - eighth, prime, prime + 1):
        for sign in (0, 2**255):
            yield (y + sign).to_bytes(32, "little")


@then("none of the {count:d} encodings of points of small order is taken as a key")
def no_small_order(context, count):
    points = list(small_order_points())
    assert len(set(points)) == count
    for point in points:
        not_a_key(context, point)
        context.world.attempt(lambda point=point: TrustedKey.from_pem(openssl_public(point)), usable=False)
        assert context.world.refusal(sessionledger.InvalidInputError).field == "key"


@then("neither are 31 bytes, 33 bytes, or text")
def no_raw(context):
    raw = SigningKey.generate().public_key.raw
    assert TrustedKey(raw).raw == raw
    for wrong in (raw[:31], raw + b"\0", raw.hex()[:32]):
        not_a_key(context, wrong)


def not_a_key(context, raw):
    context.world.attempt(lambda: TrustedKey(raw), usable=False)
    assert context.world.refusal(sessionledger.InvalidInputError).field == "key"
