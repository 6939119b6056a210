Feature: What was spent
  Sums of the ledger of token usage, by actor and model, exact, whatever became of the sessions since. What came with an
  archive was spent elsewhere, and stands apart.

  Scenario: Token usage is summed by actor and model
    Given sessions that used
      | session | actor_name | model | input_tokens | output_tokens | cost         |
      | one     | ann        | small | 10           | 1             | 0.1          |
      | one     | ann        | small | 5            | 1             | 0.2          |
      | one     | ann        | large | 100          | 20            |              |
      | two     | ann        | small | 1            | 1             |              |
      | three   |            | small | 7            | 0             | 0.0000000001 |
      | three   |            |       | 2            | 0             |              |
      | four    | Ben        | small | 3            | 0             | 0            |
    When token usage is summed
    Then the sums are
      | actor_name | model | imported | input_tokens | output_tokens | cost         | records | sessions |
      |            |       | no       | 2            | 0             |              | 1       | 1        |
      |            | small | no       | 7            | 0             | 0.0000000001 | 1       | 1        |
      | Ben        | small | no       | 3            | 0             | 0            | 1       | 1        |
      | ann        | large | no       | 100          | 20            |              | 1       | 1        |
      | ann        | small | no       | 16           | 3             | 0.3          | 3       | 2        |
    When token usage is summed of "one"
    Then the sums are
      | actor_name | model | imported | input_tokens | output_tokens | cost | records | sessions |
      | ann        | large | no       | 100          | 20            |      | 1       | 1        |
      | ann        | small | no       | 15           | 2             | 0.3  | 2       | 1        |

  Scenario: Every count is summed, and what a message used as well
    Given sessions that used
      | session | cached_input_tokens | cache_write_tokens | reasoning_tokens |
      | one     | 60                  | 7                  | 5                |
      | one     | 6                   | 3                  | 4                |
    When a message of "one" used 12 input tokens and 4 output tokens
    And token usage is summed
    Then the sums are
      | input_tokens | output_tokens | cached_input_tokens | cache_write_tokens | reasoning_tokens | records |
      | 12           | 4             | 66                  | 10                 | 9                | 3       |

  Scenario: Where nothing was spent there are no sums
    Given a session
    When token usage is summed
    Then there are no sums
    When token usage is summed of a session that is not there
    Then there are no sums

  Scenario: What a deleted session spent is still counted
    Given sessions that used
      | session | model | input_tokens | cost |
      | one     | small | 10           | 0.1  |
      | two     | small | 5            | 0.2  |
    When "one" is deleted
    And token usage is summed
    Then the sums are
      | model | input_tokens | cost | records | sessions |
      | small | 15           | 0.3  | 2       | 2        |
    When token usage is summed of "one"
    Then the sums are
      | model | input_tokens | cost | records | sessions |
      | small | 10           | 0.1  | 1       | 1        |

  Scenario: It is the actor's who was there when it was recorded
    Given sessions that used
      | session | actor_name | input_tokens |
      | one     | ann        | 10           |
    When "one" is given to the actor "ben"
    And a message of "one" used 12 input tokens and 4 output tokens
    And token usage is summed
    Then the sums are
      | actor_name | input_tokens | output_tokens | records |
      | ann        | 10           | 0             | 1       |
      | ben        | 12           | 4             | 1       |

  Scenario: What was imported stands apart, and counts once however often it is imported
    Given sessions that used
      | session | actor_name | model | input_tokens | cost |
      | one     | ann        | small | 10           | 0.1  |
      | one     | ann        | small | 5            | 0.2  |
    When "one" is exported and imported 3 times
    And token usage is summed
    Then the sums are
      | actor_name | model | imported | input_tokens | cost | records | sessions |
      | ann        | small | no       | 15           | 0.3  | 2       | 1        |
      | ann        | small | yes      | 15           | 0.3  | 2       | 1        |
    When "one" is exported and imported as a copy 2 times
    And token usage is summed
    Then the sums are
      | actor_name | model | imported | input_tokens | cost | records | sessions |
      | ann        | small | no       | 15           | 0.3  | 2       | 1        |
      | ann        | small | yes      | 45           | 0.9  | 6       | 3        |

  Scenario: What an imported session spends here is spent here
    Given sessions that used
      | session | model | input_tokens |
      | one     | small | 10           |
    When "one" is exported and imported 1 times
    And a message of the imported session used 12 input tokens and 4 output tokens
    And token usage is summed of the imported session
    Then the sums are
      | model | imported | input_tokens | output_tokens | records |
      |       | no       | 12           | 4             | 1       |
      | small | yes      | 10           | 0             | 1       |

  Scenario Outline: What was recorded since <since> and until <until>
    Given sessions that used
      | session | model | input_tokens | recorded_at      |
      | one     | small | 1            | 2026-03-01 09:59 |
      | one     | small | 10           | 2026-03-01 10:00 |
      | one     | small | 100          | 2026-03-01 11:00 |
      | two     | small | 1000         | 2026-03-01 12:00 |
    When token usage is summed since <since> and until <until>
    Then <tokens> input tokens were used

    Examples:
      | since                     | until                     | tokens |
      | ever                      | ever                      | 1111   |
      | 2026-03-01T10:00+00:00    | ever                      | 1110   |
      | ever                      | 2026-03-01T12:00+00:00    | 111    |
      | 2026-03-01T10:00+00:00    | 2026-03-01T11:00+00:00    | 10     |
      | 2026-03-01T11:00+00:00    | 2026-03-01T11:00+00:00    | 0      |
      | 2026-03-01T10:00:00.000001+00:00 | ever               | 1100   |
      | 2026-03-01T12:00+02:00    | 2026-03-01T06:00-05:00    | 10     |
      | 2026-03-01T12:01+00:00    | ever                      | 0      |

  Scenario: Windows that follow one another leave nothing out and count nothing twice
    Given sessions that used
      | session | model | input_tokens | recorded_at      |
      | one     | small | 1            | 2026-03-01 10:00 |
      | one     | small | 10           | 2026-03-01 11:00 |
      | two     | small | 100          | 2026-03-01 12:00 |
    Then the sums of each hour from 2026-03-01T09:00+00:00 on, 4 of them, are 111 input tokens together

  Scenario: Another namespace sees nothing of it
    Given sessions that used
      | session | model | input_tokens |
      | one     | small | 10           |
    When token usage is summed in the namespace "acme"
    Then there are no sums
    When token usage is summed of "one" in the namespace "acme"
    Then there are no sums

  Scenario: Costs are summed exactly
    Given a session with 3000 records of a cost of 0.0000000001, and as many of 0.1
    When token usage is summed
    Then the one cost is exactly 300.0000003000

  Scenario: A sum beyond what a count can hold is refused
    Given sessions that used
      | session | model | input_tokens        |
      | one     | small | 9223372036854775807 |
      | two     | small | 1                   |
    When token usage is summed
    Then it is refused with InvalidInputError
    When token usage is summed of "one"
    Then the sums are
      | model | input_tokens        | records |
      | small | 9223372036854775807 | 1       |
