Feature: Ids that namespaces share
  A session id is one for the whole database; a key is each namespace's own. An id that another namespace has, or has
  used, is taken, and that is all that is told.

  Scenario: The id of a deleted session stays taken for others while the ledger holds what it cost
    Given a session of the namespace "acme" that cost 12 input tokens and was deleted
    When the namespace "globex" creates a session with its id
    Then it is refused with SessionExistsError telling session_id
    And the namespace "globex" has no session
    And the namespace "acme" may create it again, with 12 input tokens

  Scenario: The id of a deleted session that cost nothing is free
    Given a session of the namespace "acme" that cost 0 input tokens and was deleted
    When the namespace "globex" creates a session with its id
    Then it has that id and cost nothing

  Scenario Outline: <call> where another namespace has taken the id that it derives
    Given the namespace "globex" has created a session with the id that <call> derives in the namespace "acme"
    When <call> is called in the namespace "acme"
    Then it is refused with SessionExistsError telling session_id
    And the namespace "acme" has no session

    Examples:
      | call           |
      | create         |
      | get_or_create  |
      | import_session |
      | import_sessions |
