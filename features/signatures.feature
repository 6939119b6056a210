# No database is needed: once is enough.
@needs.file @needs.sync
Feature: Signatures say who vouches for an archive
  A checksum tells damage; a signature tells who made it. It stands in a small file beside the archive.

  Scenario: Signed, and verified by those who trust the key
    Given an archive's digest, signed with a new key
    When the signature is verified
    Then it names the key, the archive's name and its digest
    And it is verified among other trusted keys, and by the key itself as PEM
    And its repr and the repr of its key show the key id and nothing secret

  Scenario: The form is frozen
    Given the key of the first test of RFC 8032
    When it signs the SHA-256 of "abc" under the name "parcels.archive"
    Then the signature file is, byte for byte:
      """
      {"algorithm":"ed25519","context":"sessionledger.archive.signature/1","key_id":"21fe31dfa154a261","signature":"92OlwAgXzfOwMgAmnt8cfoaRaAMVBfuVMkCVO3XMJOTUByUaxKnXnPxRsVRxFp6QpvC7fXRaFca4RPxl0Z9EAg==","trusted_comment":{"name":"parcels.archive","sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}
      """
    And it verifies by hand: the context, a NUL byte, and the file's JSON without the signature

  Scenario: A claim can be shown before it is verified
    Given an archive's digest, signed with a new key
    Then the claim can be read without any key
    And a forged claim can be read too, but is not verified

  # What is refused

  Scenario Outline: Refused as <reason>: <what>
    Given an archive's digest, signed with a new key
    When the signature is verified with <what>
    Then it is not accepted, as <reason>
    And the error names <names>

    Examples: no signature
      | what                          | reason        | names       |
      | no signature file             | missing       | no key      |
      | no signature file and no key  | missing       | no key      |

    Examples: no signature file
      | what                          | reason        | names       |
      | an empty file                 | malformed     | no key      |
      | 4097 bytes of the next context | malformed    | no key      |
      | 4096 opening brackets         | malformed     | no key      |
      | bytes that are not UTF-8      | malformed     | no key      |
      | a list                        | malformed     | no key      |
      | an empty object               | malformed     | no key      |
      | a byte order mark before it   | malformed     | no key      |
      | a carriage return at its end  | malformed     | no key      |
      | no line feed at its end       | malformed     | no key      |
      | itself twice                  | malformed     | no key      |
      | a space in it                 | malformed     | no key      |
      | a key twice                   | malformed     | no key      |
      | its keys in another order     | malformed     | no key      |
      | one more field                | malformed     | no key      |
      | one more trusted field        | malformed     | no key      |
      | no trusted comment            | malformed     | no key      |
      | a trusted comment of null     | malformed     | no key      |
      | no signature in it            | malformed     | no key      |
      | a signature of 63 bytes       | malformed     | no key      |
      | a signature that is a number  | malformed     | no key      |
      | another base64 of the same    | malformed     | no key      |
      | a key id in capitals          | malformed     | no key      |
      | a key id that is a list       | malformed     | no key      |
      | a digest in capitals          | malformed     | no key      |
      | a path as its name            | malformed     | no key      |
      | a context that is a sentence  | malformed     | no key      |
      | a context that is a number    | malformed     | no key      |

    Examples: a form that this release does not know
      | what                          | reason        | names                             |
      | the next context              | unknown_form  | sessionledger.archive.signature/2 |
      | the next context, other fields | unknown_form | sessionledger.archive.signature/2 |
      | 4096 bytes of the next context | unknown_form | sessionledger.archive.signature/2 |
      | the algorithm rsa             | unknown_form  | rsa                               |

    Examples: not by a trusted key
      | what                          | reason        | names              |
      | no trusted key                | untrusted     | the signer's key   |
      | a stranger's key alone        | untrusted     | the signer's key   |
      | a stranger's signature        | untrusted     | the stranger's key |
      | a stranger's signature under the signer's key id | wrong | the signer's key |
      | another name written in       | wrong         | the signer's key   |
      | this digest written into another archive's | wrong | the signer's key |
      | a signature of zeros          | wrong         | the signer's key   |
      | the group's order added to it | wrong         | the signer's key   |
      | a signature without its context | wrong       | the signer's key   |
      | the digest of another archive | other_archive | both digests       |

  Scenario: No byte can be changed
    Given an archive's digest, signed with a new key
    Then it is refused with each of its bytes changed into every other
    And it is refused cut short at each of its bytes
    And it is refused with any byte added before or behind it
    And a reader that takes any encoding accepts some of them (control)

  # What is signed

  Scenario Outline: A name is a file's name, for people: <name>
    Given an archive's digest, signed with a new key
    When the archive is signed under the name <name>
    Then <outcome>

    Examples:
      | name                      | outcome                                    |
      | of one letter             | it is verified under that name             |
      | of 255 letters            | it is verified under that name             |
      | of 255 emoji              | it is verified under that name             |
      | with quotes and spaces    | it is verified under that name             |
      | of two dots               | it is verified under that name             |
      | of 256 letters            | the input is refused, naming name          |
      | of no letters             | the input is refused, naming name          |
      | with a slash              | the input is refused, naming name          |
      | with a backslash          | the input is refused, naming name          |
      | with a line feed          | the input is refused, naming name          |
      | with an escape            | the input is refused, naming name          |
      | with NUL                  | the input is refused, naming name          |
      | with a line separator     | the input is refused, naming name          |
      | with a turned direction   | the input is refused, naming name          |
      | with a lone surrogate     | the input is refused, naming name          |
      | that is None              | the input is refused, naming name          |

  Scenario Outline: A digest is 64 hexadecimal digits, not <digest>
    Given an archive's digest, signed with a new key
    When an archive with the digest <digest> is signed
    Then the input is refused, naming sha256
    When the signature is held against the digest <digest>
    Then the input is refused, naming sha256

    Examples:
      | digest      |
      | in capitals |
      | of 63       |
      | of 65       |
      | as bytes    |
      | of letters  |

  # Keys

  Scenario: Keys go through PEM and come back equal
    When 20 keys are generated
    Then each comes back from PEM with its key id, and signs as before
    And no two of them are equal
    And a key id is the first 16 digits of the SHA-256 of the public key's 32 bytes
    And a public key goes through pickle; a private one refuses to

  Scenario Outline: A key from elsewhere: <key>
    When a <use> key is read from <key>
    Then it is read

    Examples:
      | use     | key                           |
      | private | PEM as OpenSSL writes it      |
      | private | PEM with Windows line ends    |
      | private | PEM with a comment before it  |
      | public  | PEM as OpenSSL writes it      |
      | public  | PEM with Windows line ends    |
      | public  | PEM with a comment before it  |

  Scenario Outline: No <use> key, and nothing of it is shown: <key>
    When a <use> key is read from <key>
    Then the input is refused, naming key
    And neither the error nor what led to it shows any of the key

    Examples:
      | use     | key                           |
      | private | no bytes                      |
      | private | garbage                       |
      | private | text instead of bytes         |
      | private | 20,000 bytes                  |
      | private | PEM without its end           |
      | private | PEM of garbage                |
      | private | two PEM keys                  |
      | private | an encrypted PEM key          |
      | private | an RSA key                    |
      | private | an encrypted RSA key          |
      | private | an Ed448 key                  |
      | private | an X25519 key                 |
      | private | an OpenSSH key                |
      | private | a key for the other use       |
      | public  | no bytes                      |
      | public  | garbage                       |
      | public  | text instead of bytes         |
      | public  | 20,000 bytes                  |
      | public  | PEM without its end           |
      | public  | PEM of garbage                |
      | public  | two PEM keys                  |
      | public  | an RSA key                    |
      | public  | an Ed448 key                  |
      | public  | an X25519 key                 |
      | public  | an OpenSSH key                |
      | public  | a key for the other use       |
      | public  | the raw 32 bytes              |

  Scenario: Keys under which anybody can sign are refused
    Then the library accepts one signature of every archive under the key of the identity (control)
    And none of the 14 encodings of points of small order is taken as a key
    And neither are 31 bytes, 33 bytes, or text

  # Without the extra

  Scenario Outline: Without its extra it names it: to <do>
    When cryptography is missing and a program wants to <do>
    Then it fails with an ImportError that says "pip install 'sessionledger[archives]'"

    Examples:
      | do                     |
      | generate a key         |
      | read a private key     |
      | read a public key      |
      | write a public key     |
      | verify a signature     |

  Scenario: Without its extra claims are still read, and what is missing is still refused
    When cryptography is missing and a program wants to read a claim and verify nothing
    Then it ends well in one line
