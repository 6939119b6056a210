Feature: Databases that cannot be used
  One typed error each, whose text says what to do next; and never a password or a message in it.

  Scenario Outline: Connecting to a database <state>
    Given a database <state>
    When the database is connected to and written to
    Then it is refused with <error>
    And the error says "<says>"
    And the error tells no password

    Examples:
      | state                         | error                   | says                                 |
      | that cannot be reached        | StorageError            | check                                |
      | that is locked                | StorageUnavailableError | busy                                 |
      | that is read-only             | StorageError            | read-only                            |
      | that is newer than this release | SchemaRevisionError   | pip install --upgrade sessionledger  |
      | that holds other tables of our names | SchemaRevisionError | not ours                          |

  @needs.server
  Scenario Outline: Connecting to a server's database <state>
    Given a database <state>
    When the database is connected to and written to
    Then it is refused with <error>
    And the error says "<says>"
    And the error tells no password
    And the database is as it was

    Examples:
      | state                            | error               | says                    |
      | that is empty                    | SchemaRevisionError | sessionledger db upgrade |
      | that is older than this release  | SchemaRevisionError | sessionledger db upgrade |

  @needs.server
  Scenario Outline: Connecting to a server <state>
    Given a database <state>
    When the database is connected to and written to
    Then it is refused with StorageError
    And the error says "<says>"
    And the error tells no password

    Examples:
      | state                          | says                                        |
      | without a database of the name | check that it runs and that the URL is right |
      | that does not know the user    | check that it runs and that the URL is right |
      | where the user has no rights   | grant                                       |

  @needs.file
  Scenario Outline: Connecting to a file <state>
    Given a database <state>
    When the database is connected to and written to
    Then it is refused with <error>
    And the error says "<says>"

    Examples:
      | state                | error            | says                     |
      | that is no database  | StorageError     | sessionledger db upgrade |
      | that is a folder     | StorageError     | check its folder         |
      | that is full         | StorageFullError | space                    |

  @needs.file
  Scenario Outline: An embedded database <state> is made and upgraded when it is connected to
    Given a database <state>
    When the database is connected to and written to
    Then it is at the newest revision
    And there is 1 session

    Examples:
      | state                           |
      | that is not there               |
      | that is empty                   |
      | that is older than this release |

  @needs.file
  Scenario: The file of an embedded database is its owner's alone
    Given a database that is not there
    When the database is connected to and written to
    Then its file can be read and written by its owner only

  Scenario Outline: Verifying a database <state>
    Given a database <state>
    When the database is verified
    Then it is refused with SchemaRevisionError, found <found> and expected the newest revision
    And the error says "<says>"
    And the database is as it was

    Examples:
      | state                                | found                      | says                                |
      | that is empty                        | nothing                    | sessionledger db upgrade            |
      | that is older than this release      | a7_001_session_persistence | sessionledger db upgrade            |
      | that is newer than this release      | zz_001_future              | pip install --upgrade sessionledger |
      | that holds other tables of our names | unknown                    | not ours                            |

  Scenario: Verifying a database at the newest revision
    When the scenario's database is verified
    Then it is accepted

  Scenario Outline: A URL that is <wrong>
    When the URL "<url>" is connected to
    Then the input is refused, naming url
    And the error tells no password

    Examples:
      | wrong                        | url                                        |
      | none                         | hunter2 is no URL                          |
      | empty                        |                                            |
      | of another kind of database  | mysql://ann:hunter2@db.example/ledger      |
      | hiding a password in a query | postgresql://db.example/x?password=hunter2 |

  Scenario: A statement that the database refuses is told without the message
    Given a session
    And a database that refuses the same content twice
    When the message "My secret is 4711" is appended twice
    Then it is refused with StorageError
    And the error tells no "4711"
    And the error tells the ids of the call
    And the log tells no "4711"

  @needs.server
  Scenario: The driver's own error would have told the message (control)
    Given a session
    And a database that refuses the same content twice
    When the content "My secret is 4711" is stored twice past the library
    Then the driver's error tells "4711"

  Scenario: An application's own engine
    Given an engine of the application's own
    When a service on it appends 3 messages and is closed
    Then the engine still works
    And the messages are there

  Scenario Outline: An engine that is asked to commit each statement by itself
    Given a session
    When a message is appended twice under one id, and then another, with the engine's options <options>
    Then both are there, with the sequences 1 and 2

    Examples:
      | options                                                  |
      | {"isolation_level": "AUTOCOMMIT"}                        |
      | {"execution_options": {"isolation_level": "AUTOCOMMIT"}} |
      | {"isolation_level": "SERIALIZABLE"}                      |

  Scenario: An append on an application's engine that commits each statement by itself is stored whole or not at all
    Given a session
    When a batch with token usage, on an application's engine that autocommits, fails at each of its statements
    Then it was refused each time, with nothing stored

  Scenario: What an application does on our engine is a transaction
    Given a session
    When an application changes a session on our engine and raises before the end of its transaction
    Then nothing has changed

  Scenario Outline: A stored row that <fault> is an error, never skipped
    Given a session with everything
    And a stored row that <fault>
    When the session is read
    Then it is refused with StorageError
    And the error says "cannot be read"

    Examples:
      | fault                                      |
      | holds content that is no JSON              |
      | holds metadata that is no JSON             |
      | holds a message's metadata that is no JSON |

  Scenario: A pool without a free connection
    Given a session
    When a session is got while the pool's only connection is taken
    Then it is refused with StorageUnavailableError
    And the error says "pool"

  @needs.file
  Scenario: A ledger in memory
    Given a ledger in memory
    When every writer appends 3 messages to a session in it
    Then the session has all of them, with the sequences 1 to n

  @needs.file
  Scenario: Verifying a database whose file is not there
    Given a database that is not there
    When it is verified
    Then it is refused with StorageUnavailableError
    And the error says "sessionledger db upgrade"
    And its file is still not there

  Scenario: A database of another kind
    When an engine of another kind of database is given
    Then the input is refused, naming database

  @needs.server
  Scenario: Any text is stored, whatever encoding the surroundings ask for
    When a message of many alphabets is appended where PGCLIENTENCODING is LATIN1
    Then it comes back as it was
