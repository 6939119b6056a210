Feature: Input that is wrong
  A value that breaks a rule of the contract is refused before anything reaches the database. The error names the field
  and the rule. Both databases and both modes give the same verdict, because none of them is asked.

  Background:
    Given a session with 2 messages

  Scenario Outline: <call> with <value> as <field>
    When <call> is called with <value> as <field>
    Then the input is refused, naming <field>
    And nothing has reached the database

    Examples: Names of a session
      | call          | field      | value                      |
      | create        | actor_name | an empty string            |
      | create        | actor_name | 256 characters             |
      | create        | actor_name | a number                   |
      | create        | actor_name | a string with NUL          |
      | create        | actor_name | a string with a surrogate  |
      | create        | key        | an empty string            |
      | create        | key        | 256 characters             |
      | create        | key        | a string with NUL          |
      | create        | title      | an empty string            |
      | create        | title      | 1001 characters            |
      | create        | title      | bytes                      |
      | create        | workspace  | an empty string            |
      | create        | workspace  | 1001 characters            |
      | get_or_create | key        | an empty string            |
      | get_or_create | key        | None                       |
      | get_or_create | title      | 1001 characters            |
      | find          | key        | an empty string            |
      | find          | key        | a number                   |
      | update        | title      | an empty string            |
      | update        | title      | 1001 characters            |
      | update        | actor_name | 256 characters             |
      | connect       | namespace  | an empty string            |
      | connect       | namespace  | 256 characters             |
      | connect       | namespace  | None                       |
      | list          | actor_name | an empty string            |
      | list          | workspace  | a number                   |

    Examples: Ids
      | call               | field      | value                     |
      | create             | session_id | an empty string           |
      | create             | session_id | a UUID                    |
      | get                | session_id | an empty string           |
      | get                | session_id | None                      |
      | get                | session_id | a ULID in lower case      |
      | get                | session_id | a ULID and a newline      |
      | get                | session_id | 27 characters             |
      | get                | session_id | a ULID beyond 128 bits    |
      | update             | session_id | a UUID                    |
      | delete             | session_id | a UUID                    |
      | append_message     | session_id | a UUID                    |
      | append_message     | message_id | an empty string           |
      | append_message     | message_id | a UUID                    |
      | append_messages    | session_id | an empty string           |
      | get_messages       | session_id | a UUID                    |
      | export_session     | session_id | a UUID                    |
      | update_token_usage | session_id | a UUID                    |
      | update_token_usage | usage_id   | a UUID                    |

    Examples: Metadata
      | call           | field    | value                             |
      | create         | metadata | a list                            |
      | create         | metadata | a number                          |
      | create         | metadata | a string                          |
      | create         | metadata | an object with NaN                |
      | create         | metadata | an object with an infinity        |
      | create         | metadata | an object with a number as a key  |
      | create         | metadata | an object with a tuple            |
      | create         | metadata | an object of 65 KiB               |
      | create         | metadata | an object nested 61 deep          |
      | create         | metadata | an object with a 41-digit number  |
      | get_or_create  | metadata | a list                            |
      | update         | metadata | a list                            |
      | update         | metadata | an object with NaN                |
      | append_message | metadata | a list                            |
      | append_message | metadata | an object with NaN                |

    Examples: Roles, formats and content
      | call           | field        | value                            |
      | append_message | role         | an empty string                  |
      | append_message | role         | an unknown word                  |
      | append_message | role         | None                             |
      | append_message | role         | a number                         |
      | append_message | role         | two words                        |
      | append_message | role         | 65 letters                       |
      | append_message | format       | an empty string                  |
      | append_message | format       | two words                        |
      | append_message | format       | 65 letters                       |
      | append_message | content      | NaN                              |
      | append_message | content      | an infinity                      |
      | append_message | content      | a tuple                          |
      | append_message | content      | a set                            |
      | append_message | content      | bytes                            |
      | append_message | content      | an object with NaN               |
      | append_message | content      | an object with a number as a key |
      | append_message | content      | an object nested 61 deep         |
      | append_message | content      | a list nested 2000 deep          |
      | append_message | content      | a list that holds itself         |
      | append_message | content      | an object with a 41-digit number |
      | append_message | content      | a split surrogate pair           |
      | append_message | content      | a string of 7 MiB                |
      | append_message | tool_call_id | an empty string                  |
      | append_message | tool_call_id | 256 characters                   |
      | append_message | tool_call_id | a string with NUL                |
      | append_message | model        | 256 characters                   |

    Examples: Counts and costs
      | call               | field               | value             |
      | update_token_usage | input_tokens        | -1                |
      | update_token_usage | input_tokens        | 2^63              |
      | update_token_usage | input_tokens        | 10^30             |
      | update_token_usage | input_tokens        | a fraction        |
      | update_token_usage | input_tokens        | NaN               |
      | update_token_usage | input_tokens        | a string          |
      | update_token_usage | input_tokens        | True              |
      | update_token_usage | output_tokens       | -1                |
      | update_token_usage | output_tokens       | 2^63              |
      | update_token_usage | cached_input_tokens | -1                |
      | update_token_usage | cache_write_tokens  | 2^63              |
      | update_token_usage | reasoning_tokens    | -1                |
      | update_token_usage | cost                | a fraction        |
      | update_token_usage | cost                | NaN               |
      | update_token_usage | cost                | a Decimal NaN     |
      | update_token_usage | cost                | a Decimal -1      |
      | update_token_usage | cost                | 10^30             |
      | update_token_usage | cost                | 11 decimal places |
      | update_token_usage | cost                | a string          |
      | update_token_usage | model               | an empty string   |
      | update_token_usage | model               | 256 characters    |

    Examples: Expectations
      | call            | field             | value           |
      | append_message  | expected_sequence | -1              |
      | append_message  | expected_sequence | 2^63            |
      | append_message  | expected_sequence | a string        |
      | append_messages | expected_sequence | -1              |
      | update          | expected_version  | 0               |
      | update          | expected_version  | -1              |
      | update          | expected_version  | 2^63            |
      | update          | archived          | a string        |

    Examples: Pages and windows
      | call         | field  | value                      |
      | list         | limit  | 0                          |
      | list         | limit  | -1                         |
      | list         | limit  | 1001                       |
      | list         | limit  | 2^63                       |
      | list         | limit  | a fraction                 |
      | list         | limit  | True                       |
      | list         | limit  | None                       |
      | list         | offset | -1                         |
      | list         | offset | 2^63                       |
      | list         | order  | an unknown word            |
      | list         | order  | None                       |
      | list         | include_archived | a string         |
      | list         | cursor | an empty string            |
      | list         | cursor | an unknown word            |
      | list         | cursor | a number                   |
      | list         | cursor | a cursor cut short         |
      | list         | cursor | a cursor of another order  |
      | list         | cursor | base64 of nothing useful   |
      | list         | cursor | a cursor nested deeply     |
      | list         | cursor | a cursor before year 1     |
      | get_messages | after  | -1                         |
      | get_messages | after  | 2^63                       |
      | get_messages | after  | None                       |
      | get_messages | before | -1                         |
      | get_messages | before | 2^63                       |
      | get_messages | limit  | 0                          |
      | get_messages | limit  | -1                         |
      | get_messages | limit  | 2^63                       |
      | get_messages | last   | 0                          |
      | get_messages | last   | -1                         |
      | get_messages | last   | a string                   |

    Examples: Archives
      | call            | field            | value                 |
      | export_session  | compression      | an unknown word       |
      | export_session  | compression      | an empty string       |
      | export_session  | compression      | a number              |
      | export_session  | compression      | True                  |
      | export_session  | compression      | a list                |
      | export_session  | follow           | a string              |
      | export_sessions | compression      | an unknown word       |
      | export_sessions | compression      | an empty string       |
      | export_sessions | compression      | a number              |
      | export_sessions | compression      | True                  |
      | export_sessions | compression      | a list                |
      | export_sessions | follow           | a string              |
      | export_sessions | session_ids      | an empty list         |
      | export_sessions | session_ids      | a string              |
      | export_sessions | session_ids      | a number              |
      | export_sessions | session_ids      | bytes                 |
      | export_sessions | session_ids      | 10001 ids             |
      | export_sessions | since            | a string              |
      | export_sessions | since            | a number              |
      | export_sessions | since            | a time without a zone |
      | export_sessions | since            | a time before year 1  |
      | export_sessions | actor_name       | an empty string       |
      | export_sessions | workspace        | a number              |
      | export_sessions | include_archived | a string              |
      | export_sessions | include_archived | None                  |
      | import_session  | as_copy          | a string              |
      | import_session  | as_copy          | None                  |
      | import_session  | limits           | a number              |
      | import_session  | limits           | an empty list         |
      | import_session  | limits           | a string              |
      | import_session  | signature        | a string              |
      | import_session  | signature        | a number              |
      | import_session  | trusted_keys     | None                  |
      | import_session  | trusted_keys     | a string              |
      | import_session  | trusted_keys     | an empty string       |
      | import_session  | trusted_keys     | a list of strings     |
      | import_session  | trusted_keys     | a number              |
      | import_session  | follow           | a string              |
      | import_session  | follow           | True                  |
      | import_sessions | as_copy          | a string              |
      | import_sessions | as_copy          | None                  |
      | import_sessions | limits           | a number              |
      | import_sessions | limits           | an empty list         |
      | import_sessions | limits           | a string              |
      | import_sessions | signature        | a string              |
      | import_sessions | signature        | a number              |
      | import_sessions | trusted_keys     | None                  |
      | import_sessions | trusted_keys     | a string              |
      | import_sessions | trusted_keys     | an empty string       |
      | import_sessions | trusted_keys     | a list of strings     |
      | import_sessions | trusted_keys     | a number              |
      | import_sessions | follow           | a string              |
      | import_sessions | follow           | True                  |

    Examples: Sums of token usage
      | call            | field            | value                 |
      | sum_token_usage | session_id       | a UUID                |
      | sum_token_usage | since            | a string              |
      | sum_token_usage | since            | a number              |
      | sum_token_usage | since            | a time without a zone |
      | sum_token_usage | since            | a time before year 1  |
      | sum_token_usage | until            | a string              |
      | sum_token_usage | until            | a number              |
      | sum_token_usage | until            | a time without a zone |
      | sum_token_usage | until            | a time before year 1  |

    Examples: Batches
      | call            | field    | value                       |
      | append_messages | messages | an empty list               |
      | append_messages | messages | a string                    |
      | append_messages | messages | a number                    |
      | append_messages | messages | a list of strings           |
      | append_messages | messages | a message without a role    |
      | append_messages | messages | a message without content   |
      | append_messages | messages | a message with another key  |
      | append_messages | messages | two messages with one id    |
      | append_messages | messages | 10001 messages              |

  Scenario: A list of ids with one that is none
    When export_sessions is called with a list of strings as session_ids
    Then the input is refused, naming session_id
    And nothing has reached the database

  Scenario Outline: Limits of archives with <value> as <field>
    When limits of archives are made with <value> as <field>
    Then the input is refused, naming <field>

    Examples:
      | field           | value      |
      | compressed_size | 0          |
      | size            | -1         |
      | ratio           | a fraction |
      | window          | None       |
      | line            | True       |
      | depth           | a string   |
      | digits          | 2^63       |
      | values          | 10^30      |
      | messages        | NaN        |
      | sessions        | an infinity |

  Scenario Outline: <first> together with <second>
    When <call> is called with both <first> and <second>
    Then the input is refused, naming <named>
    And nothing has reached the database

    Examples:
      | call         | first  | second     | named  |
      | create       | key    | session_id | session_id |
      | list         | cursor | offset     | offset |
      | get_messages | after  | last       | last   |
      | get_messages | limit  | last       | last   |

  Scenario Outline: A message's usage with <value> as <field>
    When a message's usage has <value> as <field>
    Then the input is refused, naming <named>
    And nothing has reached the database

    Examples:
      | field               | value           | named               |
      | input_tokens        | -1              | input_tokens        |
      | input_tokens        | 2^63            | input_tokens        |
      | output_tokens       | NaN             | output_tokens       |
      | cached_input_tokens | a fraction      | cached_input_tokens |
      | cost                | a fraction      | cost                |
      | total_tokens        | 1001            | usage               |

  Scenario Outline: Content that its format does not allow
    When content that is <content> is appended in the format "<format>"
    Then the input is refused, naming <named>
    And nothing has reached the database

    Examples:
      | content                       | format      | named   |
      | a list of objects             | text        | content |
      | a string                      | parts       | content |
      | a list of strings             | parts       | content |
      | a list of objects             | parts       | content |
      | a string                      | openai.chat | content |
      | an object without a role      | openai.chat | content |

  Scenario: Totals beyond what a count can hold
    When the session uses 9223372036854775807 input tokens
    And the session uses 1 input token more
    Then the input is refused, naming usage
    And nothing has changed

  Scenario: A batch whose usage adds up beyond what a count can hold
    When a batch of 2 messages is appended, each of which used 9223372036854775807 input tokens
    Then the input is refused, naming input_tokens
    And nothing has changed

  Scenario Outline: What is just within a limit is stored: <value> as <field>
    When <call> is called with <value> as <field>
    Then it is stored and comes back

    Examples:
      | call           | field        | value                            |
      | create         | actor_name   | 255 characters                   |
      | create         | actor_name   | 255 astral characters            |
      | create         | key          | 255 astral characters            |
      | create         | title        | 1000 astral characters           |
      | create         | workspace    | 1000 astral characters           |
      | create         | metadata     | an object of 64 KiB              |
      | create         | metadata     | an object nested 60 deep         |
      | create         | metadata     | an object with a 40-digit number |
      | create         | metadata     | an object with NUL               |
      | update         | title        | 1000 characters                  |
      | append_message | content      | a string just under 7 MiB        |
      | append_message | content      | an empty string                  |
      | append_message | content      | an empty list                    |
      | append_message | content      | a list of strings                |
      | append_message | content      | an object without a role         |
      | append_message | content      | a number                         |
      | append_message | content      | None                             |
      | append_message | tool_call_id | 255 characters                   |
      | append_message | metadata     | an object of 64 KiB              |

  Scenario Outline: Limits of reading that are allowed
    When <call> is called with <value> as <field>
    Then it gives an answer

    Examples:
      | call         | field  | value  |
      | list         | limit  | 1      |
      | list         | limit  | 1000   |
      | list         | offset | 2^63-1 |
      | get_messages | after  | 2^63-1 |
      | get_messages | before | 2^63-1 |
      | get_messages | limit  | 2^63-1 |
      | get_messages | last   | 2^63-1 |
