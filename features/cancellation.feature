@needs.async
Feature: A cancelled call
  A cancel before COMMIT stores nothing. A COMMIT that has been sent is awaited before the cancel is passed on, so that
  what is stored then is final. The cancel always comes out, and the connection goes back to the pool as good as it was.

  Background:
    Given a session on a database with one warm connection

  Scenario: A cancel at every statement of an append
    When an append is cancelled at each of its statements
    Then each cancel comes out and nothing is stored
    And every call has used the one connection

  Scenario: A cancel at every statement of a read
    When a read is cancelled at each of its statements
    Then each cancel comes out and nothing is stored
    And every call has used the one connection

  Scenario: A cancelled append lets the next writer in
    When an append is cancelled at each of its statements and the error is kept
    Then a writer on another connection gets in at once after each

  Scenario: A cancel of an append that waits for another writer
    When an append that waits for another writer's lock is cancelled
    Then the cancel comes out at once
    And sending it again stores it once
    And the pool has all its connections

  Scenario Outline: A cancel during COMMIT, <when> the database has done it
    When an append is cancelled during its COMMIT, <when> the database has done it
    Then the cancel waits for the COMMIT and comes out
    And the message is stored once, also when it is sent again
    And every call has used the one connection

    Examples:
      | when   |
      | before |
      | after  |

  Scenario: A cancel that is repeated at every turn of the loop
    When an append is cancelled at every turn of the loop during its COMMIT
    Then the cancel waits for the COMMIT and comes out
    And the message is stored once, also when it is sent again
    And every call has used the one connection

  Scenario: A cancel during a COMMIT that fails
    When an append is cancelled during a COMMIT that fails
    Then the cancel waits for the COMMIT and comes out
    And sending it again stores it once
    And the pool has all its connections

  Scenario: A COMMIT that does not end
    When an append is cancelled during a COMMIT that does not end
    Then the cancel comes out at the bound of 0.2 seconds
    And the connection is given up
    And sending it again stores it once
    And the pool has all its connections

  Scenario: A rollback that takes long
    When an append is cancelled before COMMIT and its rollback takes long
    Then the cancel comes out at the bound of 0.2 seconds
    And sending it again stores it once
    And every call has used the one connection

  Scenario: A time-out during COMMIT
    When an append times out during its COMMIT
    Then it is refused with TimeoutError
    And the message is stored once, also when it is sent again
    And every call has used the one connection

  Scenario: A time-out before COMMIT
    When an append times out before its COMMIT
    Then it is refused with TimeoutError
    And nothing has changed
    And sending it again stores it once

  Scenario: A task group that fails during COMMIT
    When another task of the group fails while an append is during its COMMIT
    Then only the other task's error comes out of the group
    And the message is stored once, also when it is sent again
    And every call has used the one connection

  Scenario: A call sees the caller's context
    When a message is appended with a context variable set
    Then every statement and the COMMIT see its value

  Scenario Outline: A cancel while connections are opened for <what>
    When <what> on a cold database is cancelled ever later, until it ends first
    Then each cancel comes out, and whatever has not ended stores nothing
    And no connection is left to the garbage collector

    Examples:
      | what      |
      | a read    |
      | an append |

  Scenario: A cancel while a read sets its isolation on a busy loop
    When a read is cancelled as soon as it has a connection, on a busy loop
    Then each cancel comes out and nothing is stored
    And the next append is as isolated as any
    And no connection is left to the garbage collector

  Scenario: SQLAlchemy alone breaks the COMMIT off and drops the connection (control)
    When an append through SQLAlchemy alone is cancelled during its COMMIT, before the database has done it
    Then the cancel comes out before the COMMIT has ended
    And the connection is given up
