Feature: Archives at their edges
  Files that are not quite files, two imports at once, times at the ends of the calendar, rows of before, cancels at a
  bad moment: what is refused is refused with the reason, and nothing hangs, leaks or is written twice.

  # Files

  Scenario: A writer that does not say how much it has taken has taken all
    Given a session with everything
    When it is exported
    And it is exported to a writer that says nothing
    Then both archives are equal byte for byte

  Scenario Outline: <what> that takes no more ends the export
    Given a session with a message of 300,000 characters
    When it is exported to <what>
    Then it is refused with BlockingIOError

    Examples:
      | what                            |
      | a full pipe that does not block |
      | a writer that takes nothing     |

  Scenario Outline: What is no open binary file is refused at once: <what>
    Given a session with a message of 300,000 characters
    When it is exported to <what>
    Then the input is refused, naming file
    When an archive is imported from <what>
    Then the input is refused, naming file
    And nothing has reached the database

    Examples:
      | what                                  |
      | a text in memory                      |
      | a file opened in text mode            |
      | a temporary file opened in text mode  |
      | a closed file                         |
      | a closed file in memory               |
      | an object that is no file             |
      | None                                  |

  Scenario Outline: <what> is imported from <file>
    Given an archive of 2 sessions with 3 messages each
    When <what> is imported from <file>
    Then there are 2 sessions, all whole

    Examples:
      | what    | file                                     |
      | a plain | a file that gives one byte at a time     |
      | a gzip  | a file that gives one byte at a time     |
      | a zstd  | a file that gives one byte at a time     |
      | a plain | a raw file that gives one byte at a time |
      | a gzip  | a raw file that gives one byte at a time |
      | a zstd  | a raw file that gives one byte at a time |
      | a plain | an object that can only read             |
      | a gzip  | an object that can only read             |
      | a zstd  | an object that can only read             |

  Scenario: The greatest limit of a line
    Given an archive of 2 sessions with 3 messages each
    When it is imported with a line of at most 9223372036854775807 bytes
    Then there are 2 sessions, all whole

  Scenario: A signature that nobody checks
    Given an archive of 2 sessions with 3 messages each
    When it is imported with a signature and no trusted keys
    Then the input is refused, naming signature
    And nothing has changed

  # Two at once

  @needs.server @needs.sync
  Scenario: Two imports that share new workspaces in opposite orders do not wait for each other
    Given two archives whose sessions name the same new workspaces in opposite orders
    When both are imported at the same time, each waiting for the other at its first session
    Then no statement failed, and each session was inserted once
    And every workspace was registered before the first session, in one order

  # Times

  Scenario Outline: The time <time> is refused everywhere
    When sessions are exported since <time>
    Then the input is refused, naming since
    When token usage is summed up from <time>
    Then the input is refused, naming since
    When token usage is summed up to <time>
    Then the input is refused, naming until
    When an archive is imported in which <time> is the time of each record in turn
    Then each is refused with the rule and nothing is stored

    Examples:
      | time                             |
      | 0001-01-01T00:00:00.000000+00:00 |
      | 0001-01-01T23:59:59.999999+00:00 |
      | 0001-01-02T00:59:59.999999+01:00 |
      | 9999-12-30T23:00:00.000000-01:00 |
      | 9999-12-31T00:00:00.000000+00:00 |
      | 9999-12-31T23:59:59.999999+00:00 |

  @needs.server
  Scenario Outline: The first and the last time in a database whose time zone is <zone>
    Given an archive with the first and the last time
    And the database's time zone is <zone>
    When all of it is imported
    Then its times are listed, read and exported as they were

    Examples:
      | zone             |
      | UTC              |
      | Asia/Tokyo       |
      | America/New_York |

  # A transaction of the caller's

  @needs.server
  Scenario Outline: Another connection <does> during an export in the caller's transaction
    Given a session with 60 messages of 50,000 characters
    When it is exported in a READ COMMITTED transaction while another connection <does>
    Then it is refused with StorageError
    When it is exported in a REPEATABLE READ transaction while another connection <does>
    Then the archive is what its header says, with the messages that were there

    Examples:
      | does                  |
      | appends messages      |
      | appends one message   |
      | adds sessions         |
      | adds token usage      |
      | deletes a session     |

  # Rows of before

  Scenario Outline: A row of before is exported so that it can be imported: <row>
    Given a session with 2 messages
    And a row of it was written past the library: <row>
    When it is read and exported
    And the archive is imported into an empty ledger
    Then the imported messages have the values of the exported ones

    Examples:
      | row                                                   |
      | a role that the format text does not know             |
      | content with spaces, without a hash                   |
      | content with its keys in another order, without a hash |
      | content with escapes, without a hash                  |
      | content with spaces, under its hash                   |
      | metadata with line feeds                              |
      | a session's metadata with line feeds                  |

  Scenario Outline: A row that no import would accept is not exported: <row>
    Given a session with 2 messages
    And a row of it was written past the library: <row>
    When it is tried to export it
    Then it is refused with StorageError
    And the error names the message and the rule: <rule>
    And it tells nothing of the content

    Examples:
      | row                                      | rule                                                     |
      | content that is no JSON, without a hash  | content must be one valid JSON value                     |
      | content that is no JSON, under its hash  | content must be one valid JSON value                     |
      | a key twice, without a hash              | content must not have the same key twice in one object   |
      | a key twice, under its hash              | content must not have the same key twice in one object   |
      | content nested too deeply, without a hash | content must not be nested deeper than 60 levels        |
      | content that is too long, without a hash | content must be at most 7340032 bytes of JSON            |
      | content that is no string                | content must be a string in the format text              |
      | metadata that is no JSON                 | metadata must be one valid JSON value                    |
      | another content than its hash says       | content is not what was appended                         |

  # An import that finds something there

  @needs.async @needs.file
  Scenario: An import that threads serve leaves the event loop to other tasks
    Given an archive of a session with 5,000 messages and one with a single message
    When it is imported again after the small one was deleted, and each of its steps waits for a tick of the loop
    Then the task has ticked at least 10 times between the steps of the import

  @needs.async @needs.server
  Scenario: An import that passes over what is there gives way to other tasks
    Given an archive of a session with 5,000 messages and one with a single message
    When it is imported again after the small one was deleted, beside a ticking task
    Then the task has ticked at least 8 times between the steps of the import
    When the same is done without the pauses
    Then the task has ticked less than 3 times between the steps of the import

  Scenario: An archive that is there whole is not read again, and sends nothing
    Given an archive of 2 sessions with 600 messages each
    When all of it is imported
    And all of it is imported again, counting how often its records are read
    Then they were not read, and no message was sent
    And both answers are equal, and there are 2 sessions

  # Memory

  Scenario: Metadata of many empty objects
    Given 20 sessions, each with 60 KB of metadata of empty objects
    When they are exported to nowhere, measuring memory
    Then less than 8 MiB of memory were used

  @needs.sync @needs.file
  Scenario: Very many repeated message ids
    When an archive of 12,000 messages is read in which every message id is there twice, measuring memory
    Then it is refused with ArchiveFormatError
    And the error names a line from 6003 to 12002
    And less than 1.5 MiB of memory were used

  # Cancels

  @needs.async @needs.server
  Scenario: Cancels in the middle of COPY
    Given a service whose connections are counted, and an archive of 2 sessions with 250 long messages
    When an import is cancelled at 20 places of its COPY
    Then each cancel came out, nothing was stored, and every connection was given back
    And the pool has logged no error
    When all of it is imported by that service
    Then there are 2 sessions with 500 messages

  @needs.async
  Scenario: A cancel while a slow pipe is read
    When an import from a slow pipe is cancelled
    Then the pipe is not read any more
    And nothing has changed

  # The command line

  Scenario: Standard input is read once
    Given the command line is set to the database
    And a session with the title "Once"
    When I run: export SESSION -o FILE
    And I run with the file FILE on standard input: import - -
    Then it ends with 2 and says: standard input can be read once
    When I run with the file FILE on standard input: archive verify - FILE -
    Then it ends with 2 and says: standard input can be read once

  Scenario Outline: An archive that is compressed too well says so when it is exported: <ending>
    Given the command line is set to the database
    And a session with the title "Again and again"
    And a message of 3000000 characters in it
    When I run: export SESSION -o FOLDER/a.<ending>
    Then it ends well and says: This is more than an import allows by itself: import --allow ratio=
    When I run on a fresh database: import FOLDER/a.<ending>
    Then it ends with 1
    When I run there with what the export says: import FOLDER/a.<ending>
    Then it ends well

    Examples:
      | ending |
      | gz     |
      | zst    |
