Feature: Group commit
  Of callers that share a service, the appends that come while one is being committed go together into the next commit.
  Each caller is told what it would be told without.

  Scenario: Appends that come while one is being committed
    Given a session, and a service that commits in groups
    When 15 callers append while another one's append is being committed
    Then there have been 2 commits
    And every caller has its own messages, 1 to n in the order they came

  Scenario: Batches and token usage
    Given a session, and a service that commits in groups
    When 6 callers append batches of 3 with token usage while another one's append is being committed
    Then there have been 2 commits
    And every caller has its own messages, 1 to n in the order they came
    And the totals are the sum of the token usage that was sent

  @needs.file
  Scenario: Two sessions of an embedded database
    Given 2 sessions, and a service that commits in groups
    When 14 callers append to one or the other while an append to each is being committed
    Then there have been 2 commits
    And every caller has its own messages, 1 to n in the order they came

  @needs.server
  Scenario: Two sessions of a server
    Given 2 sessions, and a service that commits in groups
    When 14 callers append to one or the other while an append to each is being committed
    Then there have been 4 commits
    And every caller has its own messages, 1 to n in the order they came

  @needs.server
  Scenario: A session of a server does not wait for another
    Given 2 sessions, and a service that commits in groups
    When appends to one of them wait for another writer's row
    Then an append to the other one is stored meanwhile
    And every caller has its own messages, 1 to n in the order they came

  Scenario: More messages than a batch may have
    Given a session, and a service that commits in groups
    When batches of 6000, 4000 and 1 messages wait for the commit of another append
    Then there have been 3 commits
    And every caller has its own messages, 1 to n in the order they came

  Scenario Outline: Among others, <append>
    Given a session with 1 message, and a service that commits in groups
    When others and <append> wait for the commit of another append
    Then it is told <answer>
    And the others have their messages, and nothing else is stored

    Examples:
      | append                                   | answer               |
      | one whose id is stored with other content | MessageConflictError |
      | one that was sent before                  | its first answer     |
      | one whose id has other token usage        | UsageConflictError   |
      | one to a session that is not there        | SessionNotFoundError |
      | one that takes a total too far            | InvalidInputError    |

  Scenario: The same message twice
    Given a session, and a service that commits in groups
    When a message and the same message with the same id wait for the commit of another append
    Then both callers have the same message, and it is stored once

  Scenario: An expected sequence
    Given a session, and a service that commits in groups
    When an append expecting sequence 1 comes while others wait for the commit of another append
    Then it is stored in a commit of its own as the second message, or refused
    And an append expecting the last sequence is stored, and one expecting another one is refused

  Scenario Outline: <error>
    Given a session, and a service that commits in groups and does not try again
    When <error> meets those that wait for the commit of another append
    Then each of them is told <kind> with its own ids
    And all of them are stored once when they are sent again

    Examples:
      | error           | kind                    |
      | a busy database | StorageUnavailableError |

    @needs.server
    Examples:
      | error           | kind                      |
      | a lost server   | CommitOutcomeUnknownError |

    @needs.file
    Examples:
      | error           | kind             |
      | a full disk     | StorageFullError |

  Scenario: A database that is busy for too long
    Given a session, and a service that commits in groups on a database that is locked
    When callers append until they are told that it is
    Then each of them is told StorageUnavailableError with its own ids
    And all of them are stored once when they are sent again

  @needs.server
  Scenario: The group's answer is lost, and then the server
    Given a session, and a service that commits in groups
    When the server stores a group, and is gone before it answers
    Then each of them is told CommitOutcomeUnknownError with its own ids
    And all of them are stored once when they are sent again

  @needs.async
  Scenario: A cancel of one that waits
    Given a session, and a service that commits in groups by transactions
    When one that waits for the COMMIT of another append is cancelled
    Then it has come out before that COMMIT
    And it is not stored, and all others are

  @needs.async
  Scenario: A cancel of one that is in a group
    Given a session, and a service that commits in groups by transactions
    When one in a group is cancelled at the group's COMMIT
    Then it has come out after that COMMIT
    And it is stored, and so are all others

  @needs.async
  Scenario: A cancel of one whose group takes too long
    Given a session, and a service that commits in groups by transactions
    When one in a group is cancelled at a COMMIT that takes longer than a cancel waits
    Then it has come out before that COMMIT
    And it is stored, and so are all others

  @needs.async
  Scenario: A cancel of the one that came first
    Given a session, and a service that commits in groups by transactions
    When the one that came first is cancelled at its COMMIT
    Then it has come out after that COMMIT
    And it is stored, and so are all others

  @needs.async
  Scenario Outline: An event loop that ends <when>
    Given a session, and a service that commits in groups
    When an event loop ends <when>, and another one begins
    Then the service appends on the other one
    And each message of the first one is stored once when it is sent again

    Examples:
      | when                                          |
      | while appends wait                            |
      | before the first of them is being committed   |
      | and is closed without a word to its tasks     |

  @needs.sync
  Scenario: A fork while others wait
    Given a session, and a service that commits in groups
    When the process is forked while appends wait, and threads of the fork append
    Then every caller has its own messages, in the fork and out of it

  @needs.sync
  Scenario: An interrupt of the one that commits
    Given a session, and a service that commits in groups
    When the one that commits a group is interrupted
    Then it is interrupted, and all others have their messages

  @needs.sync
  Scenario: An interrupt of one that waits
    Given a session, and a service that commits in groups
    When the first of those that wait is interrupted
    Then it is interrupted, and all others have their messages
    And it is not stored, and all others are

  @needs.sync
  Scenario: An interrupt of one whose turn has come to commit
    Given a session, and a service that commits in groups
    When the first of those that wait is interrupted as its turn has come
    Then it is interrupted, and all others have their messages

  Scenario: It cannot be asked for inside a caller's own transaction
    Given a session
    When a service inside a caller's own transaction is to commit in groups
    Then the input is refused, naming group_commit

  Scenario: Only yes or no
    Given a session
    When a service is opened with group_commit "yes"
    Then the input is refused, naming group_commit

  Scenario: Closing the service
    Given a session, and a service that commits in groups
    When it is closed while appends wait
    Then every caller has its own messages, 1 to n in the order they came

  Scenario Outline: Many at once on <sessions> sessions
    Given <sessions> sessions, and a service that commits in groups
    When each of 32 callers appends 20 messages to one of them
    Then nothing is lost, doubled or out of order
    And there have been fewer commits than appends

    Examples:
      | sessions |
      | 1        |
      | 8        |

  Scenario: Without group commit every append is a commit
    Given 2 sessions, and a service that commits each append by itself
    When each of 8 callers appends 5 messages to one of them
    Then nothing is lost, doubled or out of order
    And there have been as many commits as appends
