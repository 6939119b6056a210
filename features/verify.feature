@needs.sync
Feature: A whole ledger is verified
  Every namespace, every row, on one snapshot; what is wrong is told by a rule and ids, and nothing is changed. Each rule
  is seen on exactly that damage, done past the library.

  Background:
    Given the command line is set to the database

  # Ledgers that are right

  Scenario: An empty ledger
    When I run: verify --json
    Then it ends well
    And everything there is was checked, and nothing was found

  Scenario: A ledger after everything that may happen to one
    Given a ledger with sessions of every origin
    When I run: verify --json
    Then it ends well
    And everything there is was checked, and nothing was found
    And 6 records are of deleted sessions or messages

  @needs.conversations
  Scenario: Recorded conversations
    When I run: import RECORDED --format openai-chat --messages-key traj
    And I run: verify --json
    Then it ends well
    And everything there is was checked, and nothing was found

  Scenario Outline: A ledger that was released as <revision>, upgraded
    Given a database of the released revision <revision>, with rows in it
    When it is upgraded
    Given the command line is set to the database
    When I run: verify --json
    Then it ends well
    And everything there is was checked, and nothing was found

    Examples:
      | revision                   |
      | a7_001_session_persistence |
      | a7_002_session_details     |
      | a7_004_token_usage         |
      | a7_007_imports             |
      | a7_008_storage_of_sessions |

  Scenario: Messages without a hash are counted
    Given a ledger with two conversations
    When past the library: a release that knew no hashes appended
    And I run: verify --json
    Then it ends well
    And the value of not_hashed is 5

  Scenario: Rows that come in several batches
    Given a session of 1234 messages, some of them long
    When I run: verify --json
    Then it ends well
    And everything there is was checked, and nothing was found
    When past the library: the last of them is changed
    And I run: verify --json
    Then it ends with 1
    And it finds content_hash

  # Ledgers that are not

  Scenario Outline: <damage>
    Given a ledger with two conversations
    When past the library: <damage>
    And I run: verify --json
    Then it ends with 1
    And it finds <findings>
    And nothing was changed by the verification

    Examples: Messages
      | damage                                               | findings                                        |
      | a letter of stored content is flipped                | content_hash of message 1                       |
      | a stored hash is changed                             | content_hash of message 1                       |
      | content that is no JSON, under its hash              | canonical of message 1                          |
      | content with a space too much, under its hash        | canonical of message 1                          |
      | content nested too deeply, under its hash            | value of message 1                              |
      | content that is no string, in the format text        | value of message 1                              |
      | a message's metadata has its keys in another order   | canonical of message 1                          |
      | a message's metadata is a list                       | value of message 1                              |
      | a message's unknown fields have a space too much     | canonical of message 1                          |
      | a role of two words                                  | value of message 1                              |
      | a format of two words                                | value of message 1                              |
      | a message in the middle is lost                      | sequence of session A                           |
      | two messages in the middle are lost                  | sequence of session A, orphan_usage of session A |
      | the last message is lost                             | last_sequence of session A                      |
      | the counter is ahead of its messages                 | last_sequence of session A                      |
      | a session is lost, its messages are not              | orphan_message x 3                              |

    Examples: Sessions
      | damage                                               | findings                                        |
      | a session's metadata is no JSON                      | canonical of session A                          |
      | a session's metadata is a list                       | value of session A                              |
      | a session's version is 0                             | value of session A                              |
      | a session has another key                            | key of session B                                |
      | a session's workspace is not there                   | workspace of session A                          |
      | a session's workspace is another namespace's         | workspace of session A                          |
      | a session's source has an id and no digest           | value of session A                              |
      | a session's source has a digest that is none         | value of session A                              |
      | a session's unknown fields are a list                | value of session A                              |
      | a workspace's aliases are no list                    | value                                           |
      | a workspace's aliases have a space too much          | canonical                                       |

    Examples: Token usage
      | damage                                               | findings                                        |
      | a record is lost                                     | totals of session A                             |
      | a record is there twice                              | totals of session A                             |
      | a record names a message that never was              | orphan_usage of session A                       |
      | a record names a message that is no ULID             | value of session A                              |
      | a record's unknown fields are no JSON                | canonical of session A                          |
      | a record has a negative count                        | value of session A, totals of session A         |

  Scenario Outline: A total that is not the sum of the ledger: <column>
    Given a ledger with two conversations
    When past the library: one more in the session's <column>
    And I run: verify --json
    Then it ends with 1
    And it finds totals of session A
    And the finding tells only of <column>

    Examples:
      | column              |
      | input_tokens        |
      | output_tokens       |
      | cached_input_tokens |
      | cache_write_tokens  |
      | reasoning_tokens    |
      | cost                |

  Scenario: A cost that no record has
    Given a ledger with two conversations
    When past the library: no record has a cost
    And I run: verify --json
    Then it finds totals of session A
    And the finding tells only of cost

  Scenario Outline: Tables that are not this release's: <damage>
    Given a ledger with two conversations
    When past the library: <damage>
    And I run: verify --json
    Then it ends with 1
    And it finds <findings>
    And a finding says: <says>
    And the other rows were checked: <checked>

    Examples:
      | damage                                      | findings         | says                                          | checked |
      | an index is missing                         | schema           | ix_sessions_actor_name of sessions is missing | yes     |
      | an index more                               | schema           | index extra of sessions is none of this       | yes     |
      | an index on other columns                   | schema           | actor_name of sessions is made in another way | yes     |
      | an index on some of the rows                | schema           | actor_name of sessions is made in another way | yes     |
      | a column more                               | schema           | column extra of session_messages is none      | yes     |
      | a column is missing                         | schema           | tool_call_id of session_messages is missing   | no      |
      | a table is missing                          | schema           | the table token_usage is missing              | no      |
      | a table was copied without its keys         | schema x many    | the primary key of token_usage is missing     | yes     |
      | a sequence is there twice, without an index | schema, sequence | the sequence 2 is there twice                 | yes     |

    @needs.server
    Examples: What only a server can change
      | damage                       | findings      | says                                                | checked |
      | a check is missing           | schema        | a check of sessions is missing                      | yes     |
      | a check more                 | schema        | a check of sessions is none of this release         | yes     |
      | a unique constraint more     | schema        | a unique constraint of sessions is none             | yes     |
      | a foreign key is missing     | schema        | a foreign key of session_messages is missing        | yes     |
      | a column of another type     | schema        | column title of sessions is made in another way     | yes     |
      | a column that may be NULL    | schema        | column role of session_messages is made in another  | yes     |
      | a column without its default | schema        | column version of sessions is made in another way   | yes     |
      | an id of another collation   | schema        | usage_id of token_usage is made in another way      | yes     |

  Scenario: A time that cannot be read
    Given a ledger with two conversations
    When past the library: a message was sent at no time
    And I run: verify --json
    Then it ends with 1
    And it finds value of message 1

  # What the database finds by itself

  Scenario: An index that is not what its table says
    Given a ledger with two conversations
    When the database's own check has something to find
    And I run: verify --json
    Then it ends with 1
    And it finds integrity
    And nothing was changed by the verification

  @needs.file
  Scenario: A page of the file that is overwritten
    Given a session of 1234 messages, some of them long
    When past the library: a page of messages is overwritten
    And I run: verify --json
    Then it ends with 1
    And among what it finds is integrity
    And the other rows were checked: no

  @needs.file
  Scenario Outline: What only a file takes: <damage>
    Given a ledger with two conversations
    When past the library: <damage>
    And I run: verify --json
    Then it ends with 1
    And it finds <findings>
    And nothing was changed by the verification

    Examples:
      | damage                                       | findings                                          |
      | content whose bytes are no text              | content_hash of message 1, canonical of message 1 |
      | content that is bytes                        | content_hash of message 1, canonical of message 1 |
      | a role whose bytes are no text               | value of message 1                                |
      | a message's session id is bytes              | last_sequence of session A, orphan_message, value |
      | a title of 1001 characters                   | value of session A                                |
      | a count that is a word                       | value of session A, totals of session A           |
      | a cost that is a word                        | value of session A, totals of session A           |
      | another table refers to a session that is not | integrity                                        |

  # What it needs, and what it says

  Scenario: A flipped letter is read without a word, and found by a verification (control)
    Given a ledger with two conversations
    When past the library: a letter of stored content is flipped
    Then the service reads it as if nothing were wrong
    And without computing hashes again a verification finds nothing
    But a verification finds content_hash

  Scenario Outline: A damaged session is not exported: <damage>
    Given a ledger with two conversations
    When past the library: <damage>
    And session A is exported
    Then it is refused with StorageError
    And the error says "run: sessionledger verify"
    And the damage is told with the id of <named>

    Examples:
      | damage                                | named     |
      | a letter of stored content is flipped | message 1 |
      | a stored hash is changed              | message 1 |
      | a message in the middle is lost       | session A |
      | the last message is lost              | session A |
      | the counter is ahead of its messages  | session A |
      | a record is lost                      | session A |
      | no record has a cost                  | session A |

  Scenario: Without damage the same session is exported (control)
    Given a ledger with two conversations
    When session A is exported
    Then its archive is imported elsewhere, with 5 messages

  Scenario: Writers go on beside it
    Given a ledger with two conversations
    When it is verified 5 times while 4 writers append, delete and record
    Then each time nothing was found
    And the writers' messages are all there

  Scenario: What is written during a verification is not seen by it
    Given a ledger with two conversations
    When it is verified, and a message with token usage is appended before the messages are read
    Then nothing was found

  Scenario: Without a snapshot the same append is a false finding (control)
    Given a ledger with two conversations
    When it is verified without a snapshot, and a message with token usage is appended before the messages are read
    Then it found last_sequence and totals

  Scenario: A verification tells its progress and its report to Python
    Given a session of 1234 messages, some of them long
    When it is verified from Python
    Then the report says the same as the command
    And its progress went up to all rows

  Scenario: For people
    Given a ledger with two conversations
    When I run on a terminal: verify
    Then it ends well
    And it prints a line with: checked 2 sessions, 8 messages, 4 records of token usage: no findings
    And standard error says: verifying
    When past the library: a release that knew no hashes appended
    And I run: verify
    Then it ends well
    And it prints a line with: not hashed, because an older release appended them: 5 messages
    When past the library: a session is lost, its messages are not
    And I run: verify --max-findings 2
    Then it ends with 1
    And it prints a line with: orphan_message  session
    And it prints a line with: sequence 2: there is no such session
    And it prints no line with: sequence 3
    And it prints a line with: of deleted sessions: 1 record of token usage
    And standard error says: sessionledger: 3 findings (3 orphan_message)
    And nothing printed holds what anybody wrote

  Scenario: A ledger that could not be checked whole is not called sound
    Given a ledger with two conversations
    When past the library: a table is missing
    And I run: verify
    Then it ends with 1
    And standard error says: 1 finding (1 schema); not every row could be checked

  Scenario: A wrong number of findings
    When I run: verify --max-findings -1
    Then it ends with 2 and says: max_findings must be from 0

  Scenario: A database without tables, and none at all
    Given an empty database
    When I run: verify
    Then it ends with 1 and says: sessionledger db upgrade
    When I run on a database that cannot be reached: verify
    Then it ends with 1 and says: sessionledger:
