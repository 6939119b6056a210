Feature: Connections
  A call takes a connection from the pool and gives it back as it was. Whoever has waited longest is next.

  @needs.sync
  Scenario: Threads that wait for a connection are served in the order in which they came
    Given a pool of one connection, which somebody has
    When 5 threads ask for it one after the other, and the one who has it gives it back and asks again
    Then each is served in the order in which they asked

  @needs.sync
  Scenario: SQLAlchemy's own pool serves whoever comes just then (control)
    Given a pool of SQLAlchemy's own of one connection, which somebody has
    When 5 threads ask for it one after the other, and the one who has it gives it back and asks again
    Then the one who has had it is served before those who wait

  @needs.sync
  Scenario Outline: One who waits for a connection and <gives up>
    Given a pool of one connection, which somebody has
    When a thread asks for it and <gives up>, and two more ask
    Then the two are served in the order in which they asked

    Examples:
      | gives up                   |
      | does not get it in time    |
      | is interrupted             |
      | is interrupted as it comes |

  Scenario: A transaction that an application leaves open on our engine is rolled back
    Given a session on a database with one connection
    When an application changes the session's title and gives the connection back without an end to its transaction
    Then the title is as it was
    And a message is appended on the same connection

  Scenario Outline: An application that listens to <event> of SQLAlchemy's is told
    Given a session on a database with one connection
    When an application listens to <event>, and a session is created and read twice
    Then it was told <times> times

    Examples:
      | event          | times |
      | engine_connect | 3     |
      | begin          | 1     |
      | commit         | 1     |

  @needs.server
  Scenario: The connections that a crowd needed stay open
    Given a service that 15 callers have used at once
    When 15 callers use it at once again
    Then no connection was opened

  Scenario Outline: A batch of <count> messages with every text that a list of texts might trip over
    Given a session on a database with one connection
    When <count> messages with quotes, backslashes, braces, commas, NULL and nothing in them are appended at once
    Then each comes back as it was, in order
    And a check of the ledger finds nothing

    Examples:
      | count |
      | 2     |
      | 99    |
      | 100   |
      | 101   |
      | 250   |
