Feature: The house stands as designed
  What the design promises about the code itself.

  Scenario: Both contracts have the same methods with the same signatures
    Then SessionService and AsyncSessionService have the same public methods, with the same parameters and defaults
    And the async ones are all to be awaited, the others are not
    And both services keep the signatures of their contracts

  Scenario: Both databases have the same verbs
    Then Database and AsyncDatabase have the same public methods, with the same parameters and defaults

  Scenario: Every method of the contract says what it does
    Then every public method of SessionService has a docstring, and its twin refers to it

  Scenario: Importing the package is light
    When Python imports sessionledger
    Then none of sqlalchemy, alembic, greenlet, psycopg, aiosqlite, tenacity, rich, cyclopts, cryptography and backports.zstd is loaded

  Scenario: A connected service loads only what every one needs
    When Python connects to a ledger and appends a message
    Then none of alembic, tenacity, sqlalchemy.orm, opentelemetry, cryptography, backports.zstd, sessionledger.domain.archive, sessionledger.domain.verification, sessionledger.application.services.archives and sessionledger.application.services.group_commit is loaded

  Scenario: What comes later is loaded when it is used (control)
    When Python connects to a ledger and exports a session
    Then all of sessionledger.domain.archive and sessionledger.application.services.archives are loaded

  Scenario: Every public name is there, also one that comes later
    Then each public name of the package is listed and can be asked for first

  @needs.file
  Scenario: The sync side works with no extra installed
    When Python uses a ledger where greenlet, psycopg, aiosqlite, rich, cyclopts, cryptography and backports.zstd cannot be imported
    Then it ends well in one line

  Scenario Outline: What is not installed is named with the extra that brings it
    When Python <does> where <module> cannot be imported
    Then it fails with an ImportError that says "<says>"

    Examples:
      | does                                          | module    | says                        |
      | connects to a server                          | psycopg   | sessionledger[postgres]     |
      | connects to an embedded database, to await it | aiosqlite | sessionledger[async]        |
      | connects to an embedded database, to await it | greenlet  | sessionledger[async]        |

  Scenario: Forks make no equal ids
    When 200 forks make 20 ids each while the clock stands still
    Then all of them are different

  Scenario: The library's default generator repeats ids in forks (control)
    When 200 forks make 20 ids each with the library's default generator while the clock stands still
    Then some of them are equal

  Scenario: Threads make no equal ids
    When 8 threads make 2000 ids each
    Then all of them are different

  Scenario: An error crosses a process boundary with its facts
    When a fork raises each kind of error
    Then each arrives with its type, its text and its facts

  Scenario: The tables may be distributed by session_id
    Then every primary key and unique index of a session's tables contains session_id
    And no foreign key leads to another session, and none sets session_id to NULL
    And session_id has one type and collation everywhere
    And the database has no trigger

  Scenario: The statements may be distributed by session_id
    When every call of the service is made once
    Then every change of a session's rows names session_id
    And rows are locked only with session_id
    And no ON CONFLICT sets a time of the database's

  Scenario: A database is told by name in one place
    Then only dialects/engines.py asks for the name of a dialect, an engine or a driver
    And nothing reads the name of a violated constraint

  Scenario: Values never stand in the SQL
    Given a session
    When a message with the text "'; DROP TABLE sessions; --" is appended, listed and exported
    Then no statement holds the text
    And every table is still there
