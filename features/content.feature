Feature: Content comes back equal
  Whatever JSON value goes in comes back equal, on every database, byte for byte in its canonical form.

  Scenario: Any JSON value
    Given a session
    When any JSON values are appended as content and as metadata
    Then each comes back equal, of the same types, with the hash of its canonical form

  Scenario: Any text as a name
    When sessions are created with any text that a name may be
    Then each comes back equal and is found again

  Scenario Outline: Content that databases like to change: <what>
    Given a session
    When <what> is appended as content
    Then it comes back equal, of the same types
    And the database holds exactly <text>
    And it comes back equal from an archive

    Examples:
      | what                 | text                                                     |
      | NUL                  | "a\u0000b"                                               |
      | a lone surrogate     | "a\ud800b"                                               |
      | a backslash and u    | "a\\u0000b"                                              |
      | 1e16                 | 1e+16                                                    |
      | 1e22                 | 1e+22                                                    |
      | minus zero           | -0.0                                                     |
      | the smallest float   | 5e-324                                                   |
      | 0.1 plus 0.2         | 0.30000000000000004                                      |
      | 1.0                  | 1.0                                                      |
      | 1                    | 1                                                        |
      | true                 | true                                                     |
      | null                 | null                                                     |
      | 2^53 plus 1          | 9007199254740993                                         |
      | 40 digits            | 9999999999999999999999999999999999999999                 |
      | minus 40 digits      | -9999999999999999999999999999999999999999                |
      | keys in any order    | {"":3,"B":2,"a":1,"ä":4,"📦":5}                          |
      | spaces and newlines  | "  \n\t "                                                |
      | a string of JSON     | "{\"a\": 1}"                                             |
      | a composed and a decomposed letter | ["é","é"]                                 |
