Feature: Joining the caller's transaction
  A service on `Database.joined` works inside a transaction that the caller began: it is committed and rolled back with
  it. What fails in the service is undone alone.

  Scenario Outline: The caller commits: <transaction>, <engine>
    Given a session with 2 messages
    And the caller's transaction, <transaction> of <engine>
    When a message is appended in it
    Then the caller's transaction sees 3 messages and everybody else sees 2
    When the caller commits
    Then everybody sees 3 messages

    Examples:
      | transaction               | engine                           |
      | a connection              | our engine                       |
      | a connection              | an engine of the application's own |
      | a session of SQLAlchemy's | our engine                       |
      | a session of SQLAlchemy's | an engine of the application's own |

  Scenario Outline: The caller rolls back: <transaction>, <engine>
    Given a session with 2 messages
    And the caller's transaction, <transaction> of <engine>
    When a session is created, a message appended, the first session deleted and token usage added in it
    And the caller rolls back
    Then nothing has changed

    Examples:
      | transaction               | engine                           |
      | a connection              | our engine                       |
      | a connection              | an engine of the application's own |
      | a session of SQLAlchemy's | our engine                       |
      | a session of SQLAlchemy's | an engine of the application's own |

  Scenario Outline: A failure of ours is undone alone: <failure>
    Given a session with 2 messages
    And the caller's transaction, a connection of our engine
    When a message is appended in it
    And <failure> fails in it
    And one more message is appended in it
    And the caller commits
    Then everybody sees 4 messages

    Examples:
      | failure                                            |
      | an append expecting an outdated sequence           |
      | a batch of a stored and a new message              |
      | an append to a session that does not exist         |
      | token usage under a recorded id with other counts  |
      | a session with an id that is taken                 |

  Scenario: A message sent again in the caller's transaction
    Given a session with 2 messages
    And the caller's transaction, a connection of our engine
    When a message is appended in it
    And the same message is appended in it again
    And the caller commits
    Then both answers are the same message
    And everybody sees 3 messages

  Scenario: The caller's own rows and ours are one transaction
    Given a session with 2 messages
    And a table of the application's own
    And the caller's transaction, a connection of our engine
    When the caller writes a row of its own
    And a message is appended in it
    And the caller rolls back
    Then everybody sees 2 messages
    And the application's table is empty

  Scenario: Export and import in the caller's transaction
    Given a session with everything
    And the caller's transaction, a connection of our engine
    When the session is exported and imported in it
    And the caller commits
    Then the imported messages equal the exported ones but for their ids

  Scenario: In the caller's transaction nothing is tried again
    Given a session with 2 messages
    And the caller's transaction, a connection of our engine
    When an append in it meets a busy database
    Then it is refused with StorageUnavailableError
    And the work was run once
    When the caller rolls back
    Then everybody sees 2 messages

  Scenario: Closing a service that joined leaves the caller's transaction open
    Given a session with 2 messages
    And the caller's transaction, a connection of our engine
    When a message is appended in it
    And the service that joined is closed
    And the caller commits
    Then everybody sees 3 messages
