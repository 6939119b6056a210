Feature: What runs can be watched
  The library tells what it does to the standard library's logging, and to OpenTelemetry where that is installed: ids,
  counts and the database's codes, never what people wrote.

  Scenario: Calls that go well say nothing, but for archives
    Given a session
    And the log is kept from INFO on
    When every public method is called once
    Then the log has a line for each export and each import, with its counts and digest, and no other

  Scenario: A call that is tried again
    Given a session
    And the log is kept from INFO on
    When a message is appended and the database is busy 2 times
    Then the log has 2 lines of an attempt that is tried again, with the code and the message's id

  Scenario: A call that is given up
    Given a session
    And the log is kept from INFO on
    When a message is appended to a database that stays busy, with a deadline of 0.1 seconds
    Then it is refused with StorageUnavailableError
    And the last of its lines, one an attempt, is a warning that the call was given up

  Scenario: Where nobody has set up logging nothing is printed
    When Python gives up a call where nobody has set up logging
    Then it ends well in one line

  @needs.server
  Scenario: An outcome that is not known
    Given a session
    And the log is kept from INFO on
    When a message is appended and the answer to its first COMMIT is lost
    Then the log has one line, a warning of CommitOutcomeUnknownError with the message's id

  Scenario: An upgrade
    Given a database that is older than this release
    And the log is kept from INFO on
    When it is upgraded
    And the database is upgraded again
    Then the log has one line, with the revision it had, the newest and the seconds it took

  @needs.server
  Scenario: An upgrade that waits for another one
    Given a database that is older than this release
    And the log is kept from INFO on
    When it is upgraded while another upgrade runs
    Then the log says once that it waited, and then what the upgrade did

  Scenario: An application that watches what SQLAlchemy executes
    Given SQLAlchemy is watched, with something hung on the context of each statement
    When every public method is called once
    And a message is appended that the database refuses
    Then each statement was seen to end with what was hung on it, and the refused one with its error

  Scenario: Values that are printed
    Then the repr of every value, service, database and engine tells no content
    And values that are equal have equal reprs, and are told apart by their fields

  Scenario Outline: Where OpenTelemetry <state> the calls are <calls>
    When Python uses a ledger where OpenTelemetry <state>
    Then it ends well in one line

    Examples:
      | state                         | calls             |
      | is not installed              | the plain methods |
      | is installed and not imported | the plain methods |
      | is older than 1.30            | the plain methods |
      | is imported                   | observed          |

  Scenario: Importing the package imports no OpenTelemetry and sets up no logging
    When Python imports sessionledger, and looks at logging
    Then it ends well in one line

  Scenario: A span for each call
    Given an application with OpenTelemetry
    When every public method is called once
    Then each has emitted one span, of kind CLIENT and without an error
    And each call on the session carries its id, and list, export_sessions and import_sessions carry none
    And no span tells a key, a title, a content or a namespace
    And the duration of each is in the histogram of the conventions, in seconds

  Scenario: A span belongs to the application's own trace
    Given a session
    And an application with OpenTelemetry
    When a message is appended inside a span of the application's own
    Then its span is a child of that span, which is the current one again

  Scenario: A call that fails
    Given an application with OpenTelemetry
    When a session that is not there is got
    Then its span has the status ERROR and the type of the error, and no text and no event
    And its duration is counted under the same type of error

  Scenario: A call that the database refuses
    Given a session
    And a database that refuses the same content twice
    And an application with OpenTelemetry
    When the message "Hello" is appended twice
    Then it is refused with StorageError
    And its span has the code of the database

  Scenario: Attempts are counted
    Given a session
    And an application with OpenTelemetry
    When a message is appended and the database is busy 2 times
    Then one span covers all of its attempts, and 2 retries are counted with the code

  @needs.async
  Scenario: A call that is cancelled
    Given a session
    And an application with OpenTelemetry
    When an append is cancelled while it waits for a connection
    Then its span has ended with the error type CancelledError, and the application's is the current one again

  Scenario Outline: What OpenTelemetry raises when <moment> stays out of the call
    Given a session
    And an application with OpenTelemetry
    And the log is kept from WARNING on
    When a message is appended inside a span of the application's own, and OpenTelemetry raises when <moment>
    Then the message is stored once
    And the application's span is the current one again, and the log says once that OpenTelemetry raised

    Examples:
      | moment             |
      | a span begins      |
      | a span ends        |
      | a retry is counted |

  Scenario: A duration that cannot be recorded does not keep the span open
    Given a session
    And an application with OpenTelemetry
    And the log is kept from WARNING on
    When a message is appended inside a span of the application's own, and its duration cannot be recorded
    Then the message is stored once
    And the application's span is the current one again, and the log says once that OpenTelemetry raised
    And the span of the append has ended

  Scenario: What is no session's id is in no span
    Given an application with OpenTelemetry
    When sessions are asked for by texts that are no ids
    Then no span says which session it was
    And no span tells a key, a title, a content or a namespace
