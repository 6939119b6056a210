Feature: The archive format is what its specification says, and stays it
  docs/reference/archive_format.md tells the format so that others can read and write it. Files that were written once
  are read by every later release; they are frozen, and never made again.

  Scenario Outline: The golden file <file> is read and written again
    Given the golden file <file>
    When it is imported into an empty ledger
    Then its sessions and messages are those that stand beside it
    And its token usage is history, and the sum of what stands beside it
    And exported again it has the same records but for the ids that are derived
    And imported again it changes nothing

    Examples:
      | file                             |
      | version_1/empty.archive          |
      | version_1/everything.archive     |
      | version_1/everything.archive.zst |
      | version_1/many.archive           |
      | version_1/many.archive.gz        |
      | version_1/signed.archive         |

  @needs.file @needs.sync
  Scenario: Golden files of every format version
    Then there are golden files of each format version up to the newest, and a step from each older one
    And each golden file is read by a scenario of features/archive_format.feature
    And their compressed twins hold the same bytes

  # Signatures, and the order of checks

  Scenario: The golden signature, by the words of the specification
    Given the golden file version_1/signed.archive
    Then Ed25519 verifies its signature over the context, a NUL and the canonical JSON of the rest

  Scenario Outline: The golden file version_1/signed.archive with <what>
    Given the golden file version_1/signed.archive
    When it is imported with <what>, and its key is required
    Then it is refused with <error>
    And the error says why: <why>
    And nothing has changed

    Examples:
      | what                               | error                 | why                                 |
      | no signature                       | ArchiveSignatureError | missing                             |
      | a stranger's signature             | ArchiveSignatureError | untrusted                           |
      | a signature of another archive     | ArchiveSignatureError | other_archive                       |
      | a changed signature                | ArchiveSignatureError | wrong                               |
      | a byte changed                     | ArchiveChecksumError  | it was changed or damaged           |
      | a byte changed and no signature    | ArchiveChecksumError  | it was changed or damaged           |
      | a broken line                      | ArchiveSignatureError | other_archive                       |
      | a broken line and no signature     | ArchiveSignatureError | missing                             |
      | a newer version and no signature   | ArchiveSignatureError | missing                             |
      | a broken line, and signed          | ArchiveFormatError    | must be one valid JSON value (line 3) |
      | a newer version, and signed        | ArchiveVersionError   | format version 2;                   |
      | a newer version and a broken line, and signed | ArchiveVersionError | format version 2;          |
      | a broken line and no last line     | ArchiveFormatError    | its last line is not a SHA-256 footer |

  # Older and newer format versions

  Scenario: Steps bring older format versions to the newest
    Given a release that knows format version 3, with a step from 1 to 2 and one from 2 to 3
    When the golden file version_1/everything.archive is imported
    Then each of its messages and its session has gone through the steps 1 and 2
    When the same archive is imported as format version 2
    Then each of its messages and its session has gone through the step 2
    When the same archive is imported as format version 3
    Then each of its messages and its session has gone through no step

  Scenario Outline: Format version <version> is refused by a release that knows <newest>
    Given a release that knows format version <newest>
    When the golden file version_1/everything.archive is imported as format version <version>
    Then it is refused with ArchiveVersionError
    And the error tells format version <version> and that <newest> is the newest known
    And nothing has changed

    Examples:
      | version             | newest |
      | 2                   | 1      |
      | 4                   | 3      |
      | 9007199254740993    | 1      |

  Scenario: The steps are not asked where the digest is wrong
    Given a release that knows format version 3, with steps that fail
    When the golden file version_1/everything.archive is imported with its last message changed
    Then it is refused with ArchiveChecksumError

  # What a later release may add

  Scenario: Optional fields that this release does not know go through two ledgers
    Given the golden file version_1/everything.archive
    When it is imported into an empty ledger
    And exported from there, imported into a database of the other kind and exported again
    Then the session, a message and a record of token usage have the fields that are not known, in every archive

  Scenario Outline: The fields of a <record> that are not known may have 65536 bytes together
    When an archive whose <record> has unknown fields of 65536 bytes is imported
    Then it is stored
    When an archive whose <record> has unknown fields of 65537 bytes is imported
    Then it is refused with ArchiveFormatError
    And the error names line <line> and the rule: a field that is not known must be at most 65536 bytes of JSON
    And nothing has changed

    Examples:
      | record  | line |
      | session | 2    |
      | message | 3    |
      | usage   | 5    |

  Scenario: A field of the header that is not known is passed over
    When an archive whose header has another field is imported
    Then it is stored
    And exported again its header has not got it

  Scenario Outline: A time may be written <written>, and comes out as <told>
    When an archive whose message was created at <written> is imported
    Then it is stored
    And exported again its message was created at <told>

    Examples:
      | written                          | told                             |
      | 2026-01-05T09:30:00Z             | 2026-01-05T09:30:00+00:00        |
      | 2026-01-05T09:30:00.5+02:00      | 2026-01-05T07:30:00.500000+00:00 |
      | 2026-01-05T09:30:00.000000-00:00 | 2026-01-05T09:30:00+00:00        |
      | 0001-01-02T00:00:00+00:00        | 0001-01-02T00:00:00+00:00        |
      | 9999-12-30T23:59:59.999999+00:00 | 9999-12-30T23:59:59.999999+00:00 |

  Scenario: Two sessions may have messages of the same id
    When an archive of two sessions is imported whose messages have the same ids
    Then it is stored

  # The page

  @needs.file @needs.sync
  Scenario: The archive that the page shows, byte for byte
    Given the archive that docs/reference/archive_format.md shows
    Then every line of it is canonical and ends with a line feed
    And its counts, sequences, totals and order are as the page demands
    And json and hashlib make the same bytes from what the page says is in it
    And the page tells its digest, the preceding_sha256 and the content hashes
    And it is imported with the ids that the page derives

  @needs.file @needs.sync
  Scenario: The canonical texts that the page shows
    Then each text of docs/reference/archive_format.md is stored and exported in the canonical form beside it

  @needs.file @needs.sync
  Scenario: The fields and limits that the page lists
    Then docs/reference/archive_format.md describes every field of every record of the golden files
    And docs/reference/archive_format.md tells the default of every limit
