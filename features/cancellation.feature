@needs.async
Feature: A cancelled call
  A cancel before COMMIT stores nothing. A COMMIT that has been sent is awaited before the cancel is passed on, so that
  what is stored then is final; so is a statement that commits by itself, which the cancel ends at the server. The cancel
  always comes out, and the connection goes back to the pool as good as it was.

  Background:
    Given a session on a database with one warm connection

  Scenario Outline: A cancel at every statement of an append: <of>
    Given <of>
    When an append is cancelled at each of its statements
    Then each cancel comes out and nothing is stored
    And every call has used the one connection

    Examples:
      | of                                               |
      | an append is a transaction of several statements |
      | they are on an engine of the application's own   |

  @needs.server
  Scenario: A cancel of an append that is one statement
    When an append is cancelled at each of its statements
    Then each cancel comes out, with the message stored once or not at all
    And every call has used the one connection
    And the message is stored once, also when it is sent again

  Scenario: A cancel at every statement of a read
    When a read is cancelled at each of its statements
    Then each cancel comes out and nothing is stored
    And every call has used the one connection

  Scenario Outline: A cancelled append lets the next writer in: <of>
    Given <of>
    When an append is cancelled at each of its statements and the error is kept
    Then a writer on another connection gets in at once after each

    Examples:
      | of                                               |
      | an append is a transaction of several statements |
      | they are on an engine of the application's own   |

  Scenario: A cancel of an append that waits for another writer
    When an append that waits for another writer's lock is cancelled
    Then the cancel comes out at once
    And sending it again stores it once
    And the pool has all its connections

  Scenario Outline: A cancel during COMMIT, <when> the database has done it: <of>
    Given <of>
    When an append is cancelled during its COMMIT, <when> the database has done it
    Then the cancel waits for the COMMIT and comes out
    And the message is stored once, also when it is sent again
    And every call has used the one connection

    Examples:
      | when   | of                                               |
      | before | an append is a transaction of several statements |
      | after  | an append is a transaction of several statements |
      | before | they are on an engine of the application's own   |
      | after  | they are on an engine of the application's own   |

  Scenario: A cancel that is repeated at every turn of the loop
    Given an append is a transaction of several statements
    When an append is cancelled at every turn of the loop during its COMMIT
    Then the cancel waits for the COMMIT and comes out
    And the message is stored once, also when it is sent again
    And every call has used the one connection

  Scenario: A cancel during a COMMIT that fails
    Given an append is a transaction of several statements
    When an append is cancelled during a COMMIT that fails
    Then the cancel waits for the COMMIT and comes out
    And sending it again stores it once
    And the pool has all its connections

  Scenario: A COMMIT that does not end
    Given they are on an engine of the application's own
    When an append is cancelled during a COMMIT that does not end
    Then the cancel comes out at the bound of 0.2 seconds
    And the connection is given up
    And sending it again stores it once
    And the pool has all its connections

  @needs.file
  Scenario: A COMMIT that ends after its cancel
    When an append is cancelled during a COMMIT that takes long
    Then the cancel comes out at the bound of 0.2 seconds
    And the message is stored once, also when it is sent again
    And every call has used the one connection

  Scenario: A rollback that takes long
    Given an append is a transaction of several statements
    When an append is cancelled before COMMIT and its rollback takes long
    Then the cancel comes out at the bound of 0.2 seconds
    And sending it again stores it once
    And every call has used the one connection

  Scenario: A time-out during COMMIT
    Given an append is a transaction of several statements
    When an append times out during its COMMIT
    Then it is refused with TimeoutError
    And the message is stored once, also when it is sent again
    And every call has used the one connection

  Scenario: A time-out before COMMIT
    Given an append is a transaction of several statements
    When an append times out before its COMMIT
    Then it is refused with TimeoutError
    And nothing has changed
    And sending it again stores it once

  Scenario: A task group that fails during COMMIT
    Given an append is a transaction of several statements
    When another task of the group fails while an append is during its COMMIT
    Then only the other task's error comes out of the group
    And the message is stored once, also when it is sent again
    And every call has used the one connection

  Scenario: A call sees the caller's context
    Given an append is a transaction of several statements
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

  Scenario: A cancel while an export sets its isolation on a busy loop
    Given an append is a transaction of several statements
    When a read and an export are cancelled as soon as they have a connection, on a busy loop
    Then each cancel comes out and nothing is stored
    And the next append is as isolated as any
    And no connection is left to the garbage collector

  @needs.server
  Scenario: A cancel while an export sets its isolation, where an append is one statement
    When a read and an export are cancelled as soon as they have a connection, on a busy loop
    Then each cancel comes out and nothing is stored
    And the next append is one statement
    And no connection is left to the garbage collector

  Scenario: SQLAlchemy alone breaks the COMMIT off and drops the connection (control)
    Given they are on an engine of the application's own
    When an append through SQLAlchemy alone is cancelled during its COMMIT, before the database has done it
    Then the cancel comes out before the COMMIT has ended
    And the connection is given up
