Feature: Archives are refused whole or read whole
  An archive proves itself before anything is written: no changed, missing or extra byte gets in, and what is sealed
  again but breaks a rule of the format is refused with the rule and the line.

  Scenario: Every flipped bit, every cut and every extra byte
    Given a session with everything
    When it is exported
    Then the archive is refused with each of its bits flipped
    And the archive is refused cut short at each of its bytes
    And the archive is refused with any byte added behind it
    And nothing of them is stored

  Scenario Outline: A sealed archive with <fault> is refused
    Given a session with everything
    When it is exported
    And its archive is sealed again with <fault> and imported
    Then it is refused with <error>
    And nothing has changed

    Examples:
      | fault                                | error               |
      | another format                       | ArchiveFormatError  |
      | a format version that is a string    | ArchiveFormatError  |
      | format version 0                     | ArchiveFormatError  |
      | a header that counts more messages   | ArchiveFormatError  |
      | a header that counts 2 sessions      | ArchiveFormatError  |
      | a header that counts a million and one messages | ArchiveLimitError |
      | a header that counts ten thousand and one sessions | ArchiveLimitError |
      | no session                           | ArchiveFormatError  |
      | token usage before the messages      | ArchiveFormatError  |
      | another last sequence                | ArchiveFormatError  |
      | other totals                         | ArchiveFormatError  |
      | a field missing                      | ArchiveFormatError  |
      | a field of the wrong type            | ArchiveFormatError  |
      | a time without a zone                | ArchiveFormatError  |
      | a time before year 1                 | ArchiveFormatError  |
      | an id that is no ULID                | ArchiveFormatError  |
      | a role of two words                  | ArchiveFormatError  |
      | metadata that is a list              | ArchiveFormatError  |
      | a negative count                     | ArchiveFormatError  |
      | a key twice                          | ArchiveFormatError  |
      | NaN                                  | ArchiveFormatError  |
      | bytes that are not UTF-8             | ArchiveFormatError  |
      | a line that is a list                | ArchiveFormatError  |
      | an empty line                        | ArchiveFormatError  |
      | a line of 9 MiB                      | ArchiveError        |

  Scenario: Through a pipe
    Given a session with everything
    When it is exported into a pipe and imported from a pipe
    Then the imported messages equal the exported ones but for their ids

  Scenario: A session of more messages than one batch
    Given a session with 1203 messages
    When it is exported
    And the archive is imported into an empty ledger
    Then all 1203 messages are there with the sequences 1 to n

  Scenario: A namespace that imports another's archive
    Given a session with everything
    When it is exported
    And the archive is imported in the namespace "globex"
    Then the namespace "globex" has 1 session and "default" has 1 session
    And the imported messages equal the exported ones but for their ids
