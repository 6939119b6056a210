Feature: Upgrades beside a running service
  Readers and writers go on while a server is upgraded; an index that is not valid is never taken for one; and a release
  works with a newer schema where its migrations have said that it may, never by a guess.

  @needs.server
  Scenario: An index that a failed build left invalid is dropped, built again and looked at
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    And a failed build that left ix_sessions_namespace_created_at_session_id invalid
    When it is upgraded
    Then it is at the newest revision and verified
    And no index is invalid
    And the schema is that of the models

  @needs.server
  Scenario: A migration that says no more than IF NOT EXISTS stamps an invalid index (control)
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    And a failed build that left ix_sessions_namespace_created_at_session_id invalid
    When it is upgraded with nothing but IF NOT EXISTS
    Then it is at the newest revision and verified
    But the index ix_sessions_namespace_created_at_session_id is invalid

  @needs.server
  Scenario: A build that is cut off half way is done again by the same upgrade
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    And a transaction that has written to sessions
    When the upgrade's connection is cut while it builds an index, and the transaction ends
    Then the upgrade ends well
    And it is at the newest revision and verified
    And no index is invalid
    And the schema is that of the models

  @needs.server
  Scenario: A build that is killed with its upgrade is done again by the next one
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    And a transaction that has written to sessions
    When the upgrade is killed while it builds an index
    Then its revision is a7_004_token_usage
    And the index ix_sessions_namespace_created_at_session_id is invalid
    When it is upgraded once more, and the transaction ends
    Then the upgrade ends well
    And it is at the newest revision and verified
    And no index is invalid
    And the schema is that of the models

  @needs.server
  Scenario: An index that is made another kind, by an upgrade that is killed while it drops the old one
    Given a database at a7_007_imports, with 2 sessions of one namespace
    And a transaction that has written to sessions
    When the upgrade is killed while it drops an index
    Then its revision is a7_007_imports
    And the index ix_sessions_created_at is invalid
    When it is upgraded once more, and the transaction ends
    Then the upgrade ends well
    And it is at the newest revision and verified
    And no index is invalid
    And the schema is that of the models

  @needs.server
  Scenario Outline: The written-out SQL of another kind of index, passing over errors: <runs>
    Given a database at a7_007_imports, with 2 sessions of one namespace
    When the SQL to a7_008_storage_of_sessions is run, passing over errors: <runs>
    Then its revision is <revision>
    And no index is invalid

    Examples:
      | runs                           | revision                   |
      | without CREATE INDEX           | a7_007_imports             |
      | without CREATE INDEX, complete | a7_008_storage_of_sessions |
      | complete, complete             | a7_008_storage_of_sessions |

  @needs.server
  Scenario: The written-out SQL of another kind of index, twice, leaves what the models make
    Given a database at a7_007_imports, with 2 sessions of one namespace
    When the SQL to a7_008_storage_of_sessions is run, passing over errors: complete, complete
    Then the schema is that of the models

  @needs.server
  Scenario: An index that is not valid when it was built stops the upgrade
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    When it is upgraded, and an index is made invalid as soon as it is built
    Then it is refused with StorageError
    And the error says "not valid after it was built"
    And its revision is a7_004_token_usage
    When it is upgraded
    Then it is at the newest revision and verified
    And no index is invalid

  Scenario: Indexes that an earlier upgrade built are left as they are
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    And its listing indexes are there already
    When it is upgraded
    Then it is at the newest revision and verified
    And the schema is that of the models
    And no index was built a second time

  Scenario: An index whose name is taken by another table's stops the upgrade
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    And the name of a listing index is taken
    When it is upgraded, perhaps in vain
    Then it is refused with StorageError
    And its revision is a7_004_token_usage

  @needs.server
  Scenario: Written-out SQL does not stamp what was not built, even where errors are passed over
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    When the SQL of the indexes is run without one of them, passing over errors
    Then its revision is a7_004_token_usage
    When the SQL of the indexes is run as it is
    Then its revision is a7_005_listing_indexes
    And no index is invalid

  @needs.server
  Scenario: A long reader does not make writers wait for long
    Given a database at a7_001_session_persistence, with 2 sessions of one namespace
    And a transaction that has read sessions
    When it is upgraded, and a writer comes while the upgrade waits for the reader
    Then the writer is done while the reader still reads, after at most 2 tries of the upgrade
    When the transaction ends
    Then the upgrade ends well
    And it is at the newest revision and verified

  @needs.server
  Scenario: Without a limit for locks, writers wait for the reader (control)
    Given a database at a7_001_session_persistence, with 2 sessions of one namespace
    And a transaction that has read sessions
    When it is upgraded without a limit for locks, and a writer comes while the upgrade waits for the reader
    Then the writer has waited in vain
    When the transaction ends
    Then the upgrade ends well

  @needs.server
  Scenario: A lock that is not given ends in a typed error, and each revision that is reached begins the tries anew
    Given a database at a7_001_session_persistence, with 2 sessions of one namespace
    And a transaction that has read session_messages
    When it is upgraded with a single try a revision
    Then it is refused with StorageUnavailableError
    And its revision is a7_002_session_details
    And "ALTER TABLE session_messages ADD COLUMN format" was tried 2 times

  @needs.server
  Scenario: A role's own limits do not end an upgrade, nor its lock
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    And a transaction that has written to sessions
    When a role with limits of 1.0 second upgrades it, and the transaction ends after 1.4 seconds
    Then the lock of the upgrade was held all the time
    And the upgrade ends well
    And it is at the newest revision and verified

  @needs.server
  Scenario: With the role's own limit of statements the upgrade is ended (control)
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    And a transaction that has written to sessions
    When a role with limits of 1.0 second upgrades it, keeping that of statements
    Then the upgrade ends with StorageError, which says "statement_timeout"

  @needs.server
  Scenario: With the role's own limit of idleness the lock is lost (control)
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    And a transaction that has written to sessions
    When a role with limits of 1.0 second upgrades it, keeping that of idleness, and the transaction ends after 1.4 seconds
    Then the lock of the upgrade was lost before its end

  @needs.server
  Scenario: An application's engine does not keep the limits of an upgrade
    Given a database at a7_004_token_usage, with 2 sessions of one namespace
    When it is upgraded on an engine of the application's own
    Then the engine's connections have the server's own limits

  @needs.server
  Scenario: An engine that commits each statement by itself leaves nothing of a step that fails
    Given an empty database, upgraded to a7_001_session_persistence
    When an upgrade on an engine that autocommits fails in the middle of a7_002_session_details
    Then its revision is a7_001_session_persistence
    And the table sessions has exactly these columns
      | session_id | namespace | actor_name | metadata | last_sequence | input_tokens | output_tokens | created_at | updated_at |

  @needs.server
  Scenario: Tables in a schema whose name has to be quoted
    Given an empty database with the schema "My Ledger", which search_path names
    When it is upgraded, written to and verified
    Then its 1 message was checked, and nothing was found

  @needs.server
  Scenario: A search_path that names no schema is told at once, and not taken for another upgrade
    Given an empty database whose search_path names no schema
    When it is upgraded, waiting 1 second for others
    Then it is refused with StorageError
    And the error says "3F000"

  Scenario Outline: A database that is busy when the <command> begins
    Given an empty database, upgraded to head
    When the <command> begins, and the database is busy 2 times
    Then its revision is <revision>

    Examples:
      | command                             | revision                    |
      | upgrade to head                     | a7_008_storage_of_sessions  |
      | downgrade to a7_005_listing_indexes | a7_005_listing_indexes      |

  @needs.server
  Scenario: A downgrade does not lose a row that comes while it looks
    Given a database at a7_006_compatible_revisions, with 2 sessions of one namespace
    And a transaction of a writer that has recorded token usage
    When it is downgraded beside the transaction, which is committed
    Then it is refused with StorageError
    And the error says "--allow-data-loss"
    And the token usage is there

  @needs.server
  Scenario: A downgrade that looks and does not lock loses it (control)
    Given a database at a7_006_compatible_revisions, with 2 sessions of one namespace
    And a transaction of a writer that has recorded token usage
    When it is downgraded beside the transaction without the lock, which is committed
    Then the token usage is lost

  Scenario: Each revision says that its release works with it
    Given a database that is empty
    When it is upgraded revision by revision
    Then each revision that can has recorded itself
    And none was left recorded by a downgrade

  Scenario Outline: A release works with a database <state>
    Given a database <state>
    When the database is connected to and written to
    Then there is 1 session
    And its revision is zz_001_future
    When the database is verified
    Then it is accepted, as it is

    Examples:
      | state                                                |
      | that is newer, and says that this release works with it |

  Scenario Outline: A release refuses a database <state>
    Given a database <state>
    When the database is connected to and written to
    Then it is refused with SchemaRevisionError
    And the error says "<says>"
    And the database is as it was

    Examples:
      | state                                                     | says                                |
      | that is newer than this release                           | pip install --upgrade sessionledger |
      | that is newer, and records nothing                        | pip install --upgrade sessionledger |
      | that is newer, and says so of other releases              | pip install --upgrade sessionledger |

  Scenario Outline: An older release does not <change> a newer database, whatever it says
    Given a database that is newer, and says that this release works with it
    When an older release tries to <change> it
    Then it is refused with SchemaRevisionError
    And the error says "pip install --upgrade sessionledger"
    And the database is as it was

    Examples:
      | change    |
      | upgrade   |
      | downgrade |
