@needs.server
Feature: An append that is one statement
  On an engine of ours PostgreSQL is sent an append, of one message or of many, as one statement that commits by itself.
  What it cannot store goes the long way, in a transaction that tells why.

  Scenario Outline: <append> is one statement
    Given a session with 2 messages that has used tokens
    When <append> is sent
    Then it is stored behind the others, with its token usage, by one statement

    Examples:
      | append                                   |
      | a message                                |
      | a message with token usage               |
      | a message expecting sequence 2           |
      | a batch                                  |
      | a batch, some of it with token usage     |
      | a batch with token usage expecting it    |

  Scenario Outline: <append> goes the long way and is stored
    Given a session with 2 messages that has used tokens
    When <append> is sent
    Then it is stored behind the others, with its token usage, in a transaction

    Examples:
      | append                                           |
      | a batch of more than 4 MiB                       |
      | a message whose token usage was recorded before  |
      | a batch, one of whose usage was recorded before  |

  Scenario Outline: <append> gives what is stored
    Given a session with 2 messages that has used tokens
    When <append> is sent
    Then it gives the stored messages, and nothing has changed

    Examples:
      | append                              |
      | a message that was sent before      |
      | a batch that was sent before        |

  Scenario Outline: <append> is refused
    Given a session with 2 messages that has used tokens
    When <append> is sent
    Then it is refused with <error>
    And nothing has changed

    Examples:
      | append                                        | error                 |
      | a message expecting sequence 1                | SequenceConflictError |
      | a batch expecting sequence 3                  | SequenceConflictError |
      | a message for no session                      | SessionNotFoundError  |
      | a batch of which a part was sent before       | MessageConflictError  |
      | a message sent before with other content      | MessageConflictError  |
      | a message whose id has other token usage      | UsageConflictError    |
      | a message that takes a total too far          | InvalidInputError     |
      | a batch that takes a total too far            | InvalidInputError     |

  Scenario: Where a server takes one statement badly an append is a transaction
    Given a session with 2 messages that has used tokens
    And a server that takes one statement badly
    When a batch, some of it with token usage is sent
    Then it is stored behind the others, with its token usage, in a transaction

  Scenario: A connection that is lost while the statement runs
    Given a session with 2 messages that has used tokens
    When a message is sent and its connection is ended while it waits for another writer
    Then it is stored once, with the id that it was sent with

  Scenario: A connection that is lost while the statement runs is told if it is not tried again
    Given a session with 2 messages that has used tokens
    When a message is sent without retry and its connection is ended while it waits for another writer
    Then it is refused with CommitOutcomeUnknownError
    And the error tells the ids of the call
    And nothing has changed

  Scenario: A server that ends all connections costs one call
    Given a session with 2 messages that has used tokens
    When 4 connections of a pool are ended by the server, and messages are sent without retry
    Then the first of them is refused with CommitOutcomeUnknownError, and each one after it is stored

  @needs.async
  Scenario: A cancel while it waits for another writer
    Given a session on a database with one warm connection
    When an append is cancelled while it waits for another writer's row
    Then the cancel comes out at once
    And nothing of it is stored when the other writer is done
    And the message is stored once, also when it is sent again
    And every call has used the one connection

  @needs.async
  Scenario: A cancel while it waits for another append
    Given a session on a database with one warm connection
    When an append is cancelled while it waits for another append, which waits for another writer's row
    Then the cancel comes out at once
    And only the other append is stored when the other writer is done
