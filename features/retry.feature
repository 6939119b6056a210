Feature: Faults are retried
  The whole unit of work is run again, on a fresh connection, while the database is busy or away. Every method of every
  repository is reached that way, so a fault at any statement changes nothing about the answer or the stored rows.

  Scenario: A busy database at every statement of every call
    When each call meets a busy database at each of its statements
    Then each gives what it gives without a fault, and stores the same
    And every method of every repository has met a fault

  @needs.server
  Scenario: A connection that is cut at every statement of every call
    When each call meets a cut connection at each of its statements
    Then each gives what it gives without a fault, and stores the same
    And every method of every repository has met a fault

  Scenario: A COMMIT that is refused
    When each writing call meets a COMMIT that is refused
    Then each gives what it gives without a fault, and stores the same

  @needs.server
  Scenario: A COMMIT whose answer is lost
    When each writing call meets a COMMIT whose answer is lost
    Then each gives what it gives without a fault, and stores the same

  @needs.server
  Scenario Outline: A connection that is cut <when> COMMIT
    When each writing call meets a connection that is cut <when> COMMIT
    Then each gives what it gives without a fault, and stores the same

    Examples:
      | when   |
      | before |
      | after  |

  @needs.server
  Scenario: A cut at COMMIT is told if it is not tried again
    When a message is appended without retry and its connection is cut after COMMIT
    Then it is refused with CommitOutcomeUnknownError
    And the error tells the ids of the call
    And sending the same ids again gives the one stored message

  @needs.server
  Scenario: A COMMIT whose answer is lost is told if it is not tried again
    When a message is appended without retry and the answer to its COMMIT is lost
    Then it is refused with CommitOutcomeUnknownError
    And the error tells the ids of the call
    And sending the same ids again gives the one stored message

  @needs.server
  Scenario: An unknown outcome stays unknown when the database is busy afterwards
    When a message is appended, the answer to its COMMIT is lost and the database stays busy
    Then it is refused with CommitOutcomeUnknownError
    And the error tells the ids of the call
    And sending the same ids again gives the one stored message

  Scenario: Without a retry a busy database is an error (control)
    When each call meets a busy database without a retry
    Then each of them is refused with StorageUnavailableError telling its ids

  Scenario: Without the replay rule a retry would store twice (control)
    When a message is appended by a naive retry that mints its id again
    Then it is stored twice

  Scenario: What is no fault of the moment is not tried again
    Given a session
    And a database that refuses the same content twice
    When the message "Hello" is appended twice
    Then it is refused with StorageError
    And the work was run once

  Scenario Outline: An error of the caller's own is not tried again: <error>
    When work raises <error> of its own
    Then the same error comes out
    And the work was run once
    And nothing has changed

    Examples:
      | error                   |
      | a RuntimeError          |
      | an error of SQLAlchemy's |

  Scenario: A call gives up at its deadline
    When a message is appended to a database that stays busy, with a deadline of 0.3 seconds
    Then it is refused with StorageUnavailableError
    And the error tells the ids of the call
    And it was tried again until the deadline, and not much longer
