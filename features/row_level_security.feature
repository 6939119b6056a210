@needs.server
Feature: Row-level security on PostgreSQL
  The script docs/howto/row_level_security.sql lets a connection see one namespace, whatever is asked: a second wall
  behind the library's own queries.

  Background:
    Given the namespaces "acme" and "globex", each with a session of everything
    And a role that is neither owner nor superuser

  Scenario: Without the script, raw SQL sees every namespace
    Given the role may use the tables
    Then raw SQL for "acme" sees sessions, messages, token usage and workspaces of both

  Scenario: With the script, raw SQL sees one namespace
    Given the script was run
    Then raw SQL for "acme" sees sessions, messages, token usage and workspaces of "acme" alone
    And raw SQL for "globex" sees sessions, messages, token usage and workspaces of "globex" alone

  Scenario: A connection without the setting sees nothing
    Given the script was run
    Then raw SQL without a namespace sees nothing
    When a service of "acme" on a connection without a namespace gets the session
    Then it is refused with SessionNotFoundError

  Scenario Outline: Raw SQL cannot write for another namespace: <what>
    Given the script was run
    When raw SQL for "acme" <what>
    Then <outcome>
    And nothing has changed

    Examples:
      | what                                        | outcome                                   |
      | inserts a session of "globex"               | row-level security refuses it             |
      | inserts a message into a "globex" session   | row-level security refuses it             |
      | inserts token usage of "globex"             | row-level security refuses it             |
      | inserts a workspace of "globex"             | row-level security refuses it             |
      | gives its sessions to "globex"              | row-level security refuses it             |
      | updates the sessions of "globex"            | no row is found                           |
      | deletes the sessions of "globex"            | no row is found                           |
      | deletes the messages of "globex"            | no row is found                           |

  Scenario: The library works as it is
    Given the script was run
    When a service of "acme" creates, appends, reads, lists, updates, counts, exports, imports and deletes
    Then every answer is what it is without row-level security
    And the rows of "globex" have not changed

  Scenario Outline: A service whose connection is for another namespace: <call>
    Given the script was run
    When a service of "globex" on a connection of "acme" <call>
    Then it is refused with <error>
    And nothing has changed

    Examples:
      | call                          | error                |
      | gets the session              | SessionNotFoundError |
      | appends a message             | SessionNotFoundError |
      | updates the session           | SessionNotFoundError |
      | adds token usage              | SessionNotFoundError |
      | deletes the session           | SessionNotFoundError |
      | exports the session           | SessionNotFoundError |
      | exports the session by its id | SessionNotFoundError |
      | creates a session             | StorageError         |
      | imports an archive            | StorageError         |
      | imports an archive of several | StorageError         |

  Scenario: It is run again after an upgrade
    Given the script was run
    And the script was run
    Then raw SQL for "acme" sees sessions, messages, token usage and workspaces of "acme" alone

  Scenario: The owner is held to it, and is refused where rows would be left out silently
    Given the script was run
    And the role owns the tables
    Then raw SQL without a namespace sees nothing
    And raw SQL with row_security off is refused

  Scenario: A ledger of which a part is seen is not verified
    Given the script was run
    When the ledger is verified on a connection of "acme"
    Then it is refused with StorageError
    And the error says "row-level security"

  Scenario: An owner who sees no rows does not drop them
    Given the script was run
    And the role owns the tables
    When the role downgrades to base
    Then it is refused with StorageError
    And the error says "row-level security"
    And nothing has changed

  Scenario: Who can change the setting can change the namespace
    Given the script was run
    Then raw SQL for "acme" that sets the namespace "globex" sees the sessions of "globex"

  Scenario: The stricter form takes the namespace from the login
    Given the script was run
    And a role of the name of each namespace
    And the stricter form of the how-to page was run
    Then raw SQL of the role of "acme" sees sessions, messages, token usage and workspaces of "acme" alone
    And raw SQL of the role of "acme" that sets the namespace "globex" sees "acme" alone
    When a service of "acme" creates, appends, reads, lists, updates, counts, exports, imports and deletes
    Then every answer is what it is without row-level security
