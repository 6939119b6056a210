Feature: Archives are refused whole or read whole
  An archive proves itself before anything is written: no changed, missing or extra byte gets in, and what is sealed
  again but breaks a rule of the format is refused with the rule and the line.

  @needs.sync
  Scenario: Every flipped bit, every cut and every extra byte
    Given a session with everything
    When it is exported
    Then the archive is refused with each of its bits flipped
    And the archive is refused cut short at each of its bytes
    And the archive is refused with any byte added behind it
    And nothing of them is stored

  @needs.sync
  Scenario Outline: Every flipped bit, every cut and every extra byte of an archive in <compression>
    Given a session with 2 messages
    When it is exported in <compression> and imported
    Then with each of its bits flipped the archive is refused, or is the same archive
    And the archive is refused cut short at each of its bytes
    And the archive is refused with any byte added behind it
    And nothing of them is stored

    Examples:
      | compression |
      | gzip        |
      | zstd        |

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

  # Several sessions, and a forger who computes the digests again

  Scenario: An archive of three sessions, as it is
    Given an archive of three sessions
    When it is imported as it is
    Then its three sessions are stored

  Scenario Outline: Three sessions with <fault> are refused, though every digest is right
    Given an archive of three sessions
    When it is imported with <fault> and every digest computed again
    Then it is refused with ArchiveFormatError
    And the error names line <line> and the rule: <rule>
    And nothing has changed

    Examples:
      | fault                                       | line | rule                                                                                              |
      | a message of another session                | 4    | the record must belong to the session before it                                                   |
      | a message of a session that is not there    | 9    | the record must belong to the session before it                                                   |
      | a record of token usage of another session  | 6    | the record must belong to the session before it                                                   |
      | a message behind the next session           | 2    | the session's last_sequence is not that of its messages                                           |
      | a message before the first session          | 2    | a session must come right after the header                                                        |
      | sessions that descend                       | 5    | sessions must ascend by session_id                                                                |
      | two sessions exchanged                      | 10   | sessions must ascend by session_id                                                                |
      | a session twice                             | 7    | sessions must ascend by session_id                                                                |
      | token usage before the messages             | 5    | messages must come before token usage                                                             |
      | token usage between the messages            | 5    | messages must come before token usage                                                             |
      | token usage that descends                   | 6    | records of token usage must ascend by usage_id                                                    |
      | a record of token usage twice               | 7    | records of token usage must ascend by usage_id                                                    |
      | two messages exchanged                      | 3    | the message must have sequence 1                                                                  |
      | its first message missing                   | 3    | the message must have sequence 1                                                                  |
      | its last message missing                    | 2    | the session's last_sequence is not that of its messages                                           |
      | a record of token usage missing             | 2    | the session's usage is not the sum of its records                                                 |
      | its second session missing                  | 1    | the header counts other sessions than there are                                                   |
      | its third session missing                   | 1    | the header counts other sessions than there are                                                   |
      | no header                                   | 1    | it does not start with a header of the format sessionledger.archive                               |
      | two headers                                 | 2    | record must be one of session, message, usage                                                     |
      | a header at its end                         | 11   | record must be one of session, message, usage                                                     |
      | a last line in its middle                   | 7    | record must be one of session, message, usage                                                     |
      | a record of another kind                    | 7    | record must be one of session, message, usage                                                     |
      | a record whose kind is a list               | 7    | record must be one of session, message, usage                                                     |
      | a record whose kind is null                 | 4    | record must be one of session, message, usage                                                     |
      | a record without a kind                     | 4    | record must be one of session, message, usage                                                     |
      | a message that says it is a session         | 4    | a field is missing or of the wrong type                                                           |
      | a header that counts a session less         | 1    | the header counts other sessions than there are                                                   |
      | a header that counts a session more         | 1    | the header counts other sessions than there are                                                   |
      | a header that counts a message less         | 1    | the header counts other messages than there are                                                   |
      | a header that counts a message more         | 1    | the header counts other messages than there are                                                   |
      | a header that counts a record of usage less | 1    | the header counts other usage_records than there are                                              |
      | a header that counts a record of usage more | 1    | the header counts other usage_records than there are                                              |
      | a header that counts -1 sessions            | 1    | sessions must be from 0 to 9223372036854775807                                                    |
      | a header that counts true messages          | 1    | messages must be an integer                                                                       |
      | a header that counts 3.0 messages           | 1    | messages must be an integer                                                                       |
      | a header without a generator                | 1    | a field is missing or of the wrong type                                                           |
      | another content under its hash              | 3    | content_sha256 is not that of the content                                                         |
      | a content hash in capitals                  | 3    | content_sha256 is not that of the content                                                         |
      | a message id twice in a session             | 4    | its session has had this message_id before                                                        |
      | a time without a zone                       | 3    | created_at must be a time such as 2026-01-31T12:00:00.000000+00:00                                |
      | a time with a space                         | 3    | created_at must be a time such as 2026-01-31T12:00:00.000000+00:00                                |
      | a time in seven decimal places              | 3    | created_at must be a time such as 2026-01-31T12:00:00.000000+00:00                                |
      | a time by its week                          | 3    | created_at must be a time such as 2026-01-31T12:00:00.000000+00:00                                |
      | a time at 24:00                             | 3    | created_at must be a time such as 2026-01-31T12:00:00.000000+00:00                                |
      | a time whose offset has 60 minutes          | 3    | created_at must be a time such as 2026-01-31T12:00:00.000000+00:00                                |
      | a leap second                               | 3    | a field is missing or of the wrong type                                                           |
      | a time in other digits                      | 3    | created_at must be a time such as 2026-01-31T12:00:00.000000+00:00                                |
      | a time before year 1                        | 3    | created_at must be a time from 0001-01-02 to 9999-12-30 in UTC                                    |
      | a content hash of null                      | 3    | content_sha256 is not that of the content                                                         |
      | no content hash                             | 3    | a field is missing or of the wrong type                                                           |
      | a sequence of 3 after 1                     | 4    | the message must have sequence 2                                                                  |
      | a sequence of 1 after 1                     | 4    | the message must have sequence 2                                                                  |
      | a sequence of 0                             | 3    | sequence must be from 1 to 9223372036854775807                                                    |
      | a sequence of 2 at first                    | 9    | the message must have sequence 1                                                                  |
      | a sequence of 1.0                           | 3    | sequence must be an integer                                                                       |
      | a sequence of true                          | 3    | sequence must be an integer                                                                       |
      | a last sequence too small                   | 2    | the session's last_sequence is not that of its messages                                           |
      | a last sequence too large                   | 2    | the session's last_sequence is not that of its messages                                           |
      | other totals                                | 2    | the session's usage is not the sum of its records                                                 |
      | another cost                                | 2    | the session's usage is not the sum of its records                                                 |
      | no cost where there is one                  | 2    | the session's usage is not the sum of its records                                                 |
      | a cost of 0 where there is none             | 8    | the session's usage is not the sum of its records                                                 |
      | a cost with a fraction too long             | 5    | cost must be a string of digits, with or without a decimal point                                  |
      | a cost with a fraction that rounds          | 5    | cost must be a string of digits, with or without a decimal point                                  |
      | a cost as a double                          | 5    | cost must be a string of digits, with or without a decimal point                                  |
      | a cost that is no number                    | 5    | cost must be a string of digits, with or without a decimal point                                  |
      | a cost below zero                           | 5    | cost must be a string of digits, with or without a decimal point                                  |
      | counts that sum up beyond 2^63              | 6    | input_tokens must be from 0 to 9223372036854775807                                                |
      | text that is a list                         | 3    | content must be a string in the format text                                                       |
      | a namespace of null                         | 2    | namespace must be a non-empty string                                                              |
      | a title of 1,001 characters                 | 2    | title must be at most 1000 characters long                                                        |
      | a key with a NUL                            | 2    | key must not hold NUL or a lone surrogate                                                         |
      | a time that is no time                      | 2    | a field is missing or of the wrong type                                                           |

  Scenario Outline: Three sessions with <fault> are refused, because a session is bound to its place
    Given an archive of three sessions
    When it is imported with <fault> and its last line computed again
    Then it is refused with ArchiveFormatError
    And the error names line <line> and the rule: <rule>
    And nothing has changed

    Examples:
      | fault                                                 | line | rule                                                |
      | a wrong preceding_sha256                              | 8    | preceding_sha256 is not that of the lines before it |
      | a preceding_sha256 in its first session that is wrong | 2    | preceding_sha256 is not that of the lines before it |
      | a message from another archive                        | 7    | preceding_sha256 is not that of the lines before it |
      | an empty session from another archive                 | 7    | preceding_sha256 is not that of the lines before it |
      | a whole session from another archive                  | 8    | preceding_sha256 is not that of the lines before it |
      | its second session missing, and not counted           | 7    | preceding_sha256 is not that of the lines before it |
      | another title in its first session                    | 7    | preceding_sha256 is not that of the lines before it |

  @needs.file @needs.sync
  Scenario: No fault is forgotten
    Then every fault that the steps know is in features/archives.feature

  # Many sessions in one archive

  Scenario Outline: Exported, choosing <choice>
    Given these sessions, made one after the other
      | title | actor_name | workspace | archived |
      | A     | ann        | north     |          |
      | B     | ben        | north     |          |
      | C     | ann        | south     | yes      |
      | D     |            |           |          |
      | E     | ben        | south     |          |
    And each of them has 2 messages and token usage
    And a session with 3 messages in the namespace "acme"
    When they are exported, choosing <choice>
    Then the archive holds <titles>, with their messages and token usage

    Examples:
      | choice                               | titles    |
      | nothing                              | A B C D E |
      | actor_name ann                       | A C       |
      | workspace south                      | C E       |
      | include_archived false               | A B D E   |
      | session_ids D A C                    | A C D     |
      | session_ids B B                      | B         |
      | since C                              | C D E     |
      | actor_name ben, workspace south      | E         |
      | actor_name ann, include_archived false | A       |
      | session_ids B E, actor_name ben      | B E       |
      | actor_name nobody                    | none      |

  Scenario Outline: Exported with <name> <value>: refused, and nothing is written
    Given these sessions, made one after the other
      | title |
      | A     |
      | B     |
    And a session with 3 messages in the namespace "acme"
    When sessions are exported with <name> <value>
    Then it is refused with <error>
    And nothing has been written

    Examples:
      | name             | value                            | error                |
      | session_ids      | nobody's                         | SessionNotFoundError |
      | session_ids      | one that is not there among them | SessionNotFoundError |
      | session_ids      | one of another namespace         | SessionNotFoundError |
      | session_ids      | none                             | InvalidInputError    |
      | session_ids      | in a string                      | InvalidInputError    |
      | session_ids      | 10,001 of them                   | InvalidInputError    |
      | session_ids      | that are no ULIDs                | InvalidInputError    |
      | since            | without a zone                   | InvalidInputError    |
      | compression      | of another name                  | InvalidInputError    |
      | actor_name       | that is no string                | InvalidInputError    |
      | include_archived | that is no flag                  | InvalidInputError    |

  Scenario: Ten sessions, imported twice
    Given an archive of 10 sessions with 3 messages each
    When all of it is imported
    And all of it is imported again
    Then both answers are equal, and there are 10 sessions

  Scenario: Ten sessions, and a copy of them
    Given an archive of 10 sessions with 3 messages each
    When all of it is imported
    And all of it is imported as a copy
    Then the copy has other ids
    And there are 20 sessions, all whole

  Scenario: One of ten sessions was deleted and comes back
    Given an archive of 10 sessions with 3 messages each
    When all of it is imported
    And one of the sessions is deleted
    And all of it is imported again
    Then both answers are equal, and there are 10 sessions
    And there are 10 sessions, all whole

  Scenario: An archive of more sessions than one page
    Given an archive of 250 sessions with 2 messages each
    When all of it is imported
    Then there are 250 sessions, all whole
    When they are exported, choosing nothing
    And all of it is imported
    Then there are 500 sessions, all whole

  Scenario: Keys stay where they are, and sources are told
    Given an archive of 10 sessions with 1 messages each
    When all of it is imported
    Then none of them has a key, and each tells its source

  Scenario Outline: All or nothing, where the last session has a <fault>
    When all of it is imported, but its last session has a <fault>
    Then it is refused with <error>
    And nothing has changed

    Examples:
      | fault                   | error              |
      | last sequence too large | ArchiveFormatError |
      | message id twice        | ArchiveFormatError |

  Scenario Outline: An archive of <count> sessions is not one session
    Given an archive of <count> sessions with 2 messages each
    When it is imported as one session
    Then it is refused with ArchiveFormatError
    And the error names line 1 and the rule: it must hold one session; import_sessions reads one of several
    And nothing has changed

    Examples:
      | count |
      | 0     |
      | 2     |

  Scenario: Followed
    Given a session with 60 messages of 50,000 characters
    When it is exported and imported, followed
    Then it was told of growing numbers, up to all of them, in each step

  Scenario Outline: Given up in the step <step>
    Given an archive of 3 sessions with 400 messages each
    When it is imported by somebody who gives up in the step <step>
    Then the caller's own error comes out
    And nothing has changed

    Examples:
      | step      |
      | checksum  |
      | structure |
      | import    |

  Scenario: A file that is changed once it is verified
    Given an archive of 3 sessions with 2 messages each
    When it is imported from a file that is changed once it is verified
    Then it is refused with ArchiveChecksumError
    And nothing has changed

  Scenario: One consistent state, while a writer goes on
    Given a session with 60 messages of 50,000 characters
    When it is exported while another connection appends to it between the pages
    Then the archive holds the 60 messages that were there when it began

  Scenario: The largest messages there are
    Given a session with 3 messages of nearly 7 MiB each
    When it is exported and imported in a database of the other kind
    Then every message has its content and its hash there
