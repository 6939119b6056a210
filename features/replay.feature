Feature: The same request again
  After an unknown outcome the same ids may be sent again: what is stored is found, never stored twice, and the first
  answer is given. Other content under the same id is an error.

  Scenario: A message sent again is stored once and gives the first answer
    Given a session with 2 messages
    And a message with an id of the caller's, appended
    When 3 more messages are appended
    And the message is sent again
    Then the answer is the first one
    And nothing has changed

  Scenario: A message sent again by an id derived from the caller's key
    Given a session
    When a message is appended by the caller's key "request-17"
    And a message is appended by the caller's key "request-17"
    Then both answers are the same message
    And it has 1 message

  Scenario: A batch sent again is stored once and gives the first answer
    Given a session with 2 messages
    And a batch of 5 messages with ids of the caller's, appended
    When 3 more messages are appended
    And the batch is sent again
    Then the answer is the first one
    And nothing has changed

  Scenario: A batch sent again in another order gives the stored messages in the order they were sent
    Given a session with 2 messages
    And a batch of 5 messages with ids of the caller's, appended
    When the batch is sent again in reverse
    Then the answer is the first one in reverse
    And nothing has changed

  Scenario Outline: The same id with another <part> is refused
    Given a session with 2 messages
    And a message with an id of the caller's, appended
    When the message is sent again with another <part>
    Then it is refused with MessageConflictError telling its id
    And nothing has changed

    Examples:
      | part         |
      | content      |
      | role         |
      | tool_call_id |
      | format       |

  Scenario: A message sent again whose tokens fill the total counts them once
    Given a session
    And a message with an id of the caller's and 9223372036854775807 input tokens, appended
    When the message is sent again
    Then the answer is the first one
    And nothing has changed

  Scenario: Token usage sent again that fills the total counts once
    Given a session
    When token usage of 9223372036854775807 input tokens is added under an id of the caller's
    And token usage of 9223372036854775807 input tokens is added under the same id
    Then getting the session gives 9223372036854775807 input tokens and 0 output tokens

  Scenario: Content that is equal as JSON is the same content
    Given a session
    And a message with the content {"b": 1, "a": [1.0, "ü"]}, appended
    When it is sent again with the content {"a": [1.0, "\u00fc"], "b": 1}
    Then the answer is the first one
    And nothing has changed

  Scenario: A batch of stored and new messages is refused
    Given a session with 2 messages
    And a batch of 3 messages with ids of the caller's, appended
    When the batch is sent again with a new message behind it
    Then it is refused with MessageConflictError telling the new id
    And nothing has changed

  Scenario: A batch with one changed message is refused and names it
    Given a session with 2 messages
    And a batch of 3 messages with ids of the caller's, appended
    When the batch is sent again with its second message changed
    Then it is refused with MessageConflictError telling the second id
    And nothing has changed

  Scenario: Ids are compared before the expected sequence
    Given a session with 2 messages
    And a message with an id of the caller's, appended expecting sequence 2
    When the message is sent again expecting sequence 2
    Then the answer is the first one
    And nothing has changed

  Scenario: Ids are compared before the expected sequence, also when others appended since
    Given a session with 2 messages
    And a message with an id of the caller's, appended expecting sequence 2
    When 3 more messages are appended
    And the message is sent again expecting sequence 2
    Then the answer is the first one
    And nothing has changed

  Scenario: Other content at an outdated sequence is a conflict of messages
    Given a session with 2 messages
    And a message with an id of the caller's, appended expecting sequence 2
    When the message is sent again with another content
    Then it is refused with MessageConflictError telling its id
    And nothing has changed

  Scenario: The same id in another session is another message
    Given a session with 2 messages
    And a message with an id of the caller's, appended
    When the message is appended to another session
    Then its sequence is 1
    And both sessions hold it

  Scenario: A message sent again does not count its token usage again
    Given a session
    And a message with an id of the caller's and 12 input tokens, appended
    When the message is sent again
    Then the answer is the first one
    And nothing has changed
    And getting the session gives 12 input tokens and 0 output tokens

  Scenario: A message sent again with other token usage is refused
    Given a session
    And a message with an id of the caller's and 12 input tokens, appended
    When the message is sent again with 13 input tokens
    Then it is refused with UsageConflictError telling session_id
    And nothing has changed

  Scenario: A message stored without token usage and sent again with some is refused
    Given a session
    And a message with an id of the caller's, appended
    When the message is sent again with 13 input tokens
    Then it is refused with UsageConflictError telling session_id
    And nothing has changed

  Scenario: A message stored with token usage and sent again without is found
    Given a session
    And a message with an id of the caller's and 12 input tokens, appended
    When the message is sent again without token usage
    Then the answer is the first one
    And nothing has changed

  Scenario: Token usage sent again counts once and answers with the totals
    Given a session
    When token usage of 100 input tokens is added under an id of the caller's
    And 11 input tokens and 2 output tokens are added
    And token usage of 100 input tokens is added under the same id
    Then the totals are 111 input tokens and 2 output tokens
    And the ledger of token usage holds 2 records

  Scenario: Other counts under the same usage id are refused
    Given a session
    When token usage of 100 input tokens is added under an id of the caller's
    And token usage of 101 input tokens is added under the same id
    Then it is refused with UsageConflictError telling its usage id
    And nothing has changed

  Scenario: The same usage id in another session counts there
    Given a session
    When token usage of 100 input tokens is added under an id of the caller's
    And token usage of 40 input tokens is added under the same id to another session
    Then the totals are 40 input tokens and 0 output tokens

  Scenario: Token usage recorded under a message's id before the message is appended counts once
    Given a session
    When token usage of 100 input tokens is added under an id of the caller's
    And a message with that id and the same token usage is appended
    Then getting the session gives 100 input tokens and 0 output tokens
    And the ledger of token usage adds up to the same

  Scenario: Other token usage recorded under a message's id is a conflict
    Given a session
    When token usage of 100 input tokens is added under an id of the caller's
    And a message with that id and 7 input tokens is appended
    Then it is refused with UsageConflictError telling its usage id
    And nothing has changed

  Scenario: The totals of a session made again by its key are those of the ledger
    Given a session with the key "ticket/4711"
    When 12 input tokens and 4 output tokens are added
    And it is deleted
    And a session is got or created by the key "ticket/4711" with the title "Again"
    And 3 input tokens and 1 output tokens are added
    Then the totals are 15 input tokens and 5 output tokens
    And the ledger of token usage adds up to the same

  Scenario: Costs add up exactly
    Given a session
    When a cost of 0.0000000001 is added 1000 times
    And a cost of 0.1 is added 3 times
    Then its cost is exactly 0.3000001

  Scenario: The largest cost
    Given a session
    When a cost of 922337203.6854775807 is added 1 time
    Then its cost is exactly 922337203.6854775807
    And one more cost of 0.0000000001 is refused

  Scenario: An import sent again finds the first
    Given a session with everything
    When it is exported
    And the archive is imported
    And the imported session is changed
    And the archive is imported again
    Then both are the same session
    And nothing has changed but the imported session
