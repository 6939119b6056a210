Feature: Migrations
  A chain of revisions leads from nothing to the schema this release works with, from every revision that was released,
  with rows in it, and back. Any number of upgrades may run at once.

  Scenario: From nothing to the newest revision
    Given a database that is empty
    When it is upgraded
    Then it is at the newest revision and verified
    And a session with 2 messages can be stored in it

  Scenario: An upgrade of what is at the newest revision is harmless
    Given a session with everything
    When the database is upgraded again
    Then nothing has changed

  Scenario Outline: From the released revision <revision>, with rows in it
    Given a database of the released revision <revision>, with rows in it
    Then its revision is <revision>
    When it is upgraded
    Then it is at the newest revision and verified
    And every row is there, each value as it was
    And the schema is that of the models
    And the service gives the released sessions, messages and token usage
    And the service goes on where the released sessions end

    Examples:
      | revision                   |
      | b1_001_resource_registry   |
      | a7_001_session_persistence |
      | a7_002_session_details     |
      | a7_003_message_format      |
      | a7_004_token_usage         |
      | a7_005_listing_indexes     |
      | a7_006_compatible_revisions |
      | a7_007_imports             |
      | a7_008_storage_of_sessions |

  Scenario Outline: What was released as <revision> is not changed afterwards
    Given a database of the released revision <revision>, with rows in it
    And an empty database, upgraded to <revision>
    Then both have the same schema

    Examples:
      | revision                   |
      | b1_001_resource_registry   |
      | a7_001_session_persistence |
      | a7_002_session_details     |
      | a7_003_message_format      |
      | a7_004_token_usage         |
      | a7_005_listing_indexes     |
      | a7_006_compatible_revisions |
      | a7_007_imports             |
      | a7_008_storage_of_sessions |

  Scenario: Every revision is in the chain, is known to the release and is kept
    Then the chain of migrations is the release's list of revisions, from its only base to its only head
    And a dump of every revision is kept for both databases
    And this feature upgrades each of them

  Scenario: The models are what the migrations make
    Then Alembic finds no difference between the database and the models
    And the tables that the models make have the same columns, keys, checks, indexes and defaults

  Scenario: The tables of the specification
    Given an empty database, upgraded to a7_001_session_persistence
    Then the table sessions has exactly these columns
      | session_id | namespace | actor_name | metadata | last_sequence | input_tokens | output_tokens | created_at | updated_at |
    And the table session_messages has exactly these columns
      | message_id | session_id | sequence | role | content | tool_call_id | metadata | created_at |
    And session_messages has the primary key session_id, message_id
    And session_messages has a unique index on session_id, sequence
    And sessions has an index on created_at
    And sessions has an index on actor_name

  Scenario: A release that knows only the first columns may go on writing
    When a session with 2 messages is written in the columns of a7_001_session_persistence
    Then the service gives it and appends to it

  Scenario: Step by step down to nothing, and up again
    Given a database that is empty
    When it is upgraded
    And it is downgraded revision by revision
    Then it has no tables of ours and no revision
    When it is upgraded
    Then it is at the newest revision and verified
    And the schema is that of the models

  Scenario Outline: A downgrade to <target> that would lose rows is refused
    Given a session with everything
    When the database is downgraded to <target>
    Then it is refused with StorageError
    And the error says "--allow-data-loss"
    And nothing has changed

    Examples:
      | target                     |
      | a7_003_message_format      |
      | a7_002_session_details     |
      | a7_001_session_persistence |
      | b1_001_resource_registry   |
      | base                       |

  Scenario: A downgrade names all that it would lose
    Given a session with everything
    When the database is downgraded to base
    Then it is refused with StorageError
    And the error says "the ledger of token usage"
    And the error says "titles, keys, workspaces, versions or archive marks of sessions"
    And the error says "sessions and their messages"
    And the error says "resources"
    And nothing has changed

  Scenario: A downgrade to a revision that this release does not know
    When the database is downgraded to zz_001_past
    Then the input is refused, naming revision
    And nothing has changed

  Scenario: A downgrade that would lose rows, allowed
    Given a session with everything
    When the database is downgraded to base, allowing the loss of rows
    Then it has no tables of ours and no revision

  Scenario: A downgrade of an empty ledger loses nothing
    When the database is downgraded to b1_001_resource_registry
    Then its revision is b1_001_resource_registry

  Scenario: A revision that this release does not know
    When the database is upgraded to zz_001_future
    Then the input is refused, naming revision
    And nothing has changed

  Scenario Outline: A database <state> is not upgraded
    Given a database <state>
    When it is upgraded, perhaps in vain
    Then it is refused with SchemaRevisionError
    And the database is as it was

    Examples:
      | state                                |
      | that is newer than this release      |
      | that holds other tables of our names |

  Scenario: Several processes upgrade at once
    Given a database that is empty
    When 6 processes upgrade it at once
    Then all of them succeed
    And it is at the newest revision and verified

  Scenario: Several processes upgrade at once, from a released revision with rows in it
    Given a database of the released revision a7_001_session_persistence, with rows in it
    When 4 processes upgrade it at once
    Then all of them succeed
    And every row is there, each value as it was
    And it is at the newest revision and verified

  Scenario: Several threads of one process upgrade at once
    Given a database that is empty
    When 6 threads upgrade it at once
    Then all of them succeed
    And it is at the newest revision and verified

  Scenario: Several processes upgrade at once without the lock (control)
    When 6 processes upgrade an empty database at once without the lock, 5 times
    Then some of them fail

  Scenario: The SQL of an upgrade, written out
    Given a database that is empty
    When the SQL of the upgrade is written and run past the library
    Then it is at the newest revision and verified
    And the schema is that of the models

  Scenario: The SQL of a downgrade, written out
    When the SQL of the downgrade to b1_001_resource_registry is written and run past the library
    Then its revision is b1_001_resource_registry

  Scenario Outline: Alembic's own command line, with the URL by <way>
    Given a database that is empty
    When "alembic upgrade head" is run with the URL by <way>
    Then it is at the newest revision and verified
    And "alembic check" finds no drift

    Examples:
      | way                         |
      | -x url                      |
      | SESSIONLEDGER_DATABASE_URL  |

  Scenario: Alembic's own command line writes the SQL
    Given a database that is empty
    When "alembic upgrade head --sql" is run with the URL by -x url
    Then it prints the SQL of the upgrade

  Scenario: Alembic's own command line refuses to lose rows
    Given a session with everything
    When "alembic downgrade base" is run with the URL by -x url
    Then it fails in one line that says "lose"
    And the ledger is as it was

  Scenario: A migration imports no model
    Then no migration imports anything of sessionledger but the refusal to lose rows and what builds indexes
