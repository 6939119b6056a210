"""Signatures of archives: who vouches for an archive, kept in a small file beside it.

What is signed is the archive's digest, the SHA-256 in its last line. So a signature stays valid when the archive is
compressed, decompressed or renamed. The file is one line of canonical JSON (see `content`) in UTF-8, ending in a line
feed; shown here on several lines::

    {"algorithm":"ed25519","context":"sessionledger.archive.signature/1","key_id":"21fe31dfa154a261",
     "signature":"<the 64 bytes in base64>","trusted_comment":{"name":"parcels.archive","sha256":"<64 hex digits>"}}

The signature (Ed25519, RFC 8032) is over the context, a NUL byte, and the canonical JSON of the same object without
`signature`. So no byte is unsigned: a file is accepted only if it equals, byte for byte, what the signer wrote.
The key id is the first 16 hexadecimal digits of the SHA-256 of the 32 bytes of the public key. It finds a key; it
proves nothing: what proves is the whole key.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sessionledger.domain.content import canonical_text, parse
from sessionledger.domain.errors import ArchiveSignatureError, InvalidInputError
from sessionledger.domain.models import checked_name

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "ed25519"
CONTEXT = "sessionledger.archive.signature/1"
MAX_SIGNATURE_BYTES = 4096
"""How long a signature file may be; the longest that is ever written has 1,327."""
MAX_KEY_BYTES = 16 * 1024
"""How long a PEM file may be; one with an Ed25519 key has about 120 bytes."""

_SHA256 = re.compile("[0-9a-f]{64}")
_KEY_ID = re.compile("[0-9a-f]{16}")
_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,63}")
# Control characters, line separators, and what turns the direction of writing and so shows another name than there is.
# A fixed list, because what Python calls printable changes with its release.
_NOT_IN_NAMES = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069/\\\\]")

_PRIME = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826


@dataclass(frozen=True, slots=True)
class Signature:
    """What a signature file says.

    Attributes:
        key_id: Which key signed.
        name: The archive's name when it was signed, for people to read; never a path to open.
        sha256: The digest of the archive that was signed, 64 hexadecimal digits.
    """

    key_id: str
    name: str
    sha256: str

    def __post_init__(self) -> None:
        if not isinstance(self.key_id, str) or not _KEY_ID.fullmatch(self.key_id):
            raise InvalidInputError("key_id", "must be 16 hexadecimal digits in lower case")
        if _NOT_IN_NAMES.search(checked_name("name", self.name)):
            raise InvalidInputError("name", "must not hold a slash, a backslash or a control character")
        _checked_sha256(self.sha256)


@dataclass(frozen=True, slots=True, repr=False)
class TrustedKey:
    """A public key whose signatures are accepted. Two are equal if all their bytes are.

    Attributes:
        raw: The 32 bytes of the Ed25519 public key.

    Raises:
        InvalidInputError: They are no such key, or one of the few under which anybody can sign.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes) or len(self.raw) != 32:
            raise InvalidInputError("key", "must be the 32 bytes of an Ed25519 public key")
        if _has_small_order(self.raw):
            raise InvalidInputError("key", "must not be a point of small order, because anybody can sign for it")

    @classmethod
    def from_pem(cls, data: bytes) -> TrustedKey:
        """Read a public key as OpenSSL writes it: one SubjectPublicKeyInfo in PEM.

        Raises:
            InvalidInputError: It is anything else; the error does not quote it.
            ImportError: The extra `archives` is not installed.
        """
        _require_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        key = _loaded(data, load_pem_public_key)
        if not isinstance(key, Ed25519PublicKey):
            raise InvalidInputError("key", "must be one Ed25519 public key in PEM (SubjectPublicKeyInfo)")
        return cls(key.public_bytes_raw())

    def to_pem(self) -> bytes:
        """The key as one SubjectPublicKeyInfo in PEM."""
        _require_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def key_id(self) -> str:
        """16 hexadecimal digits that name the key to people and find it among others."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"TrustedKey(key_id={self.key_id!r})"


class SigningKey:
    """A private key. It shows its key id only, and cannot be pickled."""

    __slots__ = ("_private",)

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key from the operating system's random bits.

        Raises:
            ImportError: The extra `archives` is not installed.
        """
        _require_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, data: bytes) -> SigningKey:
        """Read a private key as OpenSSL writes it: one PKCS #8 in PEM, not encrypted.

        Raises:
            InvalidInputError: It is anything else; the error does not quote it.
            ImportError: The extra `archives` is not installed.
        """
        _require_cryptography()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = _loaded(data, functools.partial(load_pem_private_key, password=None))
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidInputError("key", "must be one Ed25519 private key in PEM (PKCS #8, not encrypted)")
        return cls(key)

    def to_pem(self) -> bytes:
        """The key as one PKCS #8 in PEM, not encrypted: whoever reads it can sign."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def public_key(self) -> TrustedKey:
        """The public key, for those who verify."""
        return TrustedKey(self._private.public_key().public_bytes_raw())

    @property
    def key_id(self) -> str:
        """See `TrustedKey.key_id`."""
        return self.public_key.key_id

    def sign(self, sha256: str, name: str) -> bytes:
        """Sign an archive; return the bytes of its signature file.

        Args:
            sha256: The archive's digest, 64 hexadecimal digits: what its last line holds.
            name: The archive's name, for people: at most 255 characters, no slash, backslash or control character.

        Raises:
            InvalidInputError: The digest or the name is none.
        """
        claim = Signature(self.key_id, name, sha256)
        return _file_of(claim, self._private.sign(_signed_bytes(claim)))

    def __repr__(self) -> str:
        return f"SigningKey(key_id={self.key_id!r})"


def read_signature(data: bytes) -> Signature:
    """What a signature file claims, to show it. Nothing is verified: anybody can claim anything.

    Raises:
        ArchiveSignatureError: It is no signature file, or of a form that this release does not know.
    """
    return _parsed(data)[0]


def verified_signature(data: bytes | None, sha256: str, trusted: Collection[TrustedKey]) -> Signature:
    """Hold an archive's signature file against the keys that are trusted.

    Args:
        data: The signature file's bytes; `None` where there is no such file. A reader needs no more than
            `MAX_SIGNATURE_BYTES` and one byte of it.
        sha256: The digest that was computed from the archive, 64 hexadecimal digits.
        trusted: The keys whose signatures are accepted.

    Returns:
        What the file says, vouched for by the key that it names.

    Raises:
        ArchiveSignatureError: It is missing, not valid, not by a trusted key, or of another archive; `reason` says it.
        InvalidInputError: `sha256` is none.
        ImportError: The extra `archives` is not installed.
    """
    _checked_sha256(sha256)
    if data is None:
        raise ArchiveSignatureError("missing", "there is none, but one is required")
    claim, signature = _parsed(data)
    keys = [key for key in trusted if key.key_id == claim.key_id]
    if not keys:
        raise ArchiveSignatureError("untrusted", f"it is by key {claim.key_id}, which is not trusted", claim.key_id)
    if not any(_verifies(key, signature, _signed_bytes(claim)) for key in keys):
        problem = f"key {claim.key_id} did not make it: the signature file was changed, damaged or forged"
        raise ArchiveSignatureError("wrong", problem, claim.key_id)
    if claim.sha256 != sha256:
        problem = f"it is of the archive with the SHA-256 {claim.sha256}, but this archive's is {sha256}"
        raise ArchiveSignatureError("other_archive", problem, claim.key_id, claim.sha256, sha256)
    return claim


def _parsed(data: bytes) -> tuple[Signature, bytes]:
    """The claim and the 64 bytes of the signature, not verified."""
    if len(data) > MAX_SIGNATURE_BYTES:
        raise ArchiveSignatureError("malformed", f"its file is longer than {MAX_SIGNATURE_BYTES} bytes")
    malformed = ArchiveSignatureError("malformed", "its file is no signature file, or was changed or damaged")
    try:
        fields = parse("signature", data.decode())
    except ValueError:  # of the decoding, or an InvalidInputError
        raise malformed from None
    if not isinstance(fields, dict):
        raise malformed
    for name, known in (("context", CONTEXT), ("algorithm", ALGORITHM)):
        found = fields.get(name)
        if found != known and isinstance(found, str) and _FORM.fullmatch(found):
            raise ArchiveSignatureError("unknown_form", f"its {name} is {found}; this release knows {known}")
    try:
        comment = fields["trusted_comment"]
        claim = Signature(fields["key_id"], comment["name"], comment["sha256"])
        signature = base64.b64decode(fields["signature"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise malformed from None
    # One comparison holds every rule that is left: these fields and no others, in canonical form, in the one base64
    # that encodes these bytes (base64 ends in bits that a decoder ignores).
    if len(signature) != 64 or _file_of(claim, signature) != data:
        raise malformed
    return claim, signature


def _file_of(claim: Signature, signature: bytes) -> bytes:
    fields = _signed_fields(claim) | {"signature": base64.b64encode(signature).decode()}
    return canonical_text(fields).encode() + b"\n"


def _signed_bytes(claim: Signature) -> bytes:
    return CONTEXT.encode() + b"\0" + canonical_text(_signed_fields(claim)).encode()


def _signed_fields(claim: Signature) -> dict[str, object]:
    return {
        "algorithm": ALGORITHM,
        "context": CONTEXT,
        "key_id": claim.key_id,
        "trusted_comment": {"name": claim.name, "sha256": claim.sha256},
    }


def _verifies(key: TrustedKey, signature: bytes, signed: bytes) -> bool:
    _require_cryptography()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _has_small_order(raw: bytes) -> bool:
    """Whether a public key is one of the 8 points whose order divides 8, in any encoding.

    OpenSSL takes the identity as a key and then accepts R = identity, S = 0 for every message (measured). The points
    are those with y = 0, 1, -1 or ±`_ORDER_8`; doubling each three times gives the identity.
    """
    y = int.from_bytes(raw, "little") % 2**255 % _PRIME  # the highest bit is the sign of x
    return min(y, _PRIME - y) in {0, 1, _ORDER_8}


def _loaded(data: bytes, load: Callable[[bytes], object]) -> object:
    """The key in a PEM file; `None` where there is no single key that can be read without a password."""
    from cryptography.exceptions import UnsupportedAlgorithm

    # Of several keys the library reads the first, and is silent on the others.
    if not isinstance(data, bytes) or len(data) > MAX_KEY_BYTES or data.count(b"-----BEGIN ") != 1:
        return None
    try:
        return load(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        return None


def _checked_sha256(value: object) -> None:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise InvalidInputError("sha256", "must be 64 hexadecimal digits in lower case")


def _require_cryptography() -> None:
    """Raise an `ImportError` that names the extra, where the library is missing.

    It is imported on first use, so that `import sessionledger` stays light and works without it.
    """
    try:
        importlib.import_module("cryptography")
    except ModuleNotFoundError:
        raise ImportError("cryptography is not installed; run: pip install 'sessionledger[archives]'") from None
