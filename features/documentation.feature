@needs.file @needs.sync
Feature: The documentation tells the truth
  What the pages show is run, and what they list is compared with the code.

  Scenario Outline: The Python examples of <page> run as written
    When the Python examples of <page> are run in an empty folder
    Then they print what the page says

    Examples:
      | page                             |
      | README.md                        |
      | docs/index.md                    |
      | docs/tutorial.md                 |
      | docs/howto/deploys.md            |
      | docs/howto/joining.md            |
      | docs/howto/retries_and_ids.md    |
      | docs/howto/import_conversations.md |
      | docs/howto/move_sessions.md |
      | docs/howto/verify.md             |
      | docs/howto/observability.md      |

  Scenario Outline: The commands of <page> run as written
    When the commands of <page> are run in an empty folder
    Then they end well

    Examples:
      | page                               |
      | docs/tutorial.md                   |
      | docs/howto/deploys.md              |
      | docs/howto/import_conversations.md |
      | docs/howto/move_sessions.md |
      | docs/howto/export_conversations.md |
      | docs/howto/verify.md               |
      | docs/reference/command_line.md     |

  Scenario: The reference of the command line is what the commands say of themselves
    Then docs/reference/command_line.md holds the help of every command

  Scenario: The reference of the database schema is that of the models
    Then docs/reference/database_schema.md describes the tables of the models and no others
    And for each table it describes the columns, with types, nulls and defaults
    And for each table it describes the indexes
    And for each table it describes the constraints
    And its diagram shows every table and column

  Scenario: The chain of migrations is the one that upgrades run
    Then docs/reference/database_schema.md tells the revisions in their order
    And the migrations are a chain of the same revisions

  Scenario: The tree of errors is the one that can be raised
    Then the tree in the docstring of the errors is that of the classes
    And docs/reference/errors.md shows the same tree and describes every error
    And every error is one of the package's public names

  Scenario: The archive that the format's page shows is one
    Then the archive in docs/reference/archive_format.md can be imported

  Scenario: Links between pages lead somewhere
    Then every link of README.md, CONTRIBUTING.md and CHANGELOG.md leads to a file
    And every test file that README.md and docs/reliability.md name is there

  Scenario: The figures are those of the faults that are run
    Then docs/reliability.md tells what each fault and each control found, on each of its databases
