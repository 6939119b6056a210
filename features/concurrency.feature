Feature: Many at once on one session
  Writers in threads (sync) or tasks (async) line up at the database. Every acknowledged message is there once, in one
  order without gaps, and the totals are the sum of what was recorded.

  Scenario: Single messages
    Given a session
    When every writer appends 6 messages, one by one
    Then every message is there once, with the sequence that its writer was told
    And the sequences are 1 to n without gaps
    And each writer's messages are in the order it appended them

  @needs.file
  Scenario: Many more than there are connections
    Given a session
    When each of 32 writers appends 3 messages, one by one
    Then every message is there once, with the sequence that its writer was told
    And the sequences are 1 to n without gaps

  Scenario: Batches
    Given a session
    When every writer appends 3 batches of 5 messages
    Then every message is there once, with the sequence that its writer was told
    And the sequences are 1 to n without gaps
    And each batch stands together

  Scenario: Token usage
    Given a session
    When every writer adds 5 times 7 input tokens and a cost of 0.0000000003
    Then the totals are exactly the sum of all of it
    And the ledger of token usage adds up to the same

  Scenario: The same message from all of them
    Given a session
    When every writer appends the same message with the same id
    Then all of them get the same answer
    And it has 1 message

  Scenario: The same token usage from all of them
    Given a session
    When every writer adds 7 input tokens under the same id
    Then getting the session gives 7 input tokens and 0 output tokens

  Scenario: One place, many who want it
    Given a session with 2 messages
    When every writer appends a message expecting sequence 2
    Then one of them succeeds, and the others are refused with SequenceConflictError
    And it has 3 messages

  Scenario: One version, many who change it
    Given a session
    When every writer updates it expecting version 1
    Then one of them succeeds, and the others are refused with VersionConflictError
    And its version is 2

  Scenario: Readers see every message up to the last they see
    Given a session
    When half of them append and half of them read
    Then every reading is 1 to n without gaps and never shorter than the one before

  Scenario: A session deleted while others append
    Given a session with 2 messages
    When every writer appends 3 messages and one of them deletes the session in between
    Then every append is stored before the deletion or refused with SessionNotFoundError
    And no row of it is left but its ledger of token usage

  Scenario: The same new workspace from all of them
    When every writer creates a session in the same new workspace
    Then the workspace is registered once
    And all of them are listed by the workspace

  Scenario: Connecting to a database
    When many connect to the database at once
    Then each of them can append and read

  @needs.file
  Scenario: Connecting to a new embedded database
    Given a database that is not there
    When many connect to the database at once
    Then each of them can append and read
