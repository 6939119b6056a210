@needs.sync @needs.file
Feature: A session in formats that people already have
  As a conversation in the OpenAI chat format, as Markdown, or as one page of HTML. What was said is all there, what a
  format cannot carry is counted on standard error, and nothing that anybody said becomes markup.

  Background:
    Given the command line is set to the database

  # The command

  Scenario Outline: A session is written as <format>
    Given a session with the title "Parcel"
    And a message "Where is it?" in it
    When I run: export SESSION --format <format> -o FILE
    Then it ends well and prints: exported 1 message to FILE
    And standard error says: <format> cannot carry, and leaves out: 1 <first>
    And the file is readable by its owner alone, and nothing else is in its folder
    And the file holds the words: Where is it?
    When I run: export SESSION --format <format>
    Then it ends well and says: exported 1 message
    And it prints a line with: Where is it?
    When I run: export SESSION --format <format> -o FILE --json
    Then it prints JSON with the keys: format, messages, left_out, file
    When I run with standard output on a terminal: export SESSION --format <format>
    Then it ends with 2 and says: name a file: -o session.<ending>
    When I run on a terminal: export SESSION --format <format> -o FILE
    Then standard error says: exporting

    Examples:
      | format      | first      | ending |
      | openai-chat | actor      | json   |
      | markdown    | message id | md     |
      | html        | message id | html   |

  Scenario Outline: A session without messages, and one without a title, as <format>
    Given a session with nothing
    When I run: export SESSION --format <format> -o FILE
    Then it ends well and prints: exported 0 messages to FILE
    And standard error is empty

    Examples:
      | format      |
      | openai-chat |
      | markdown    |
      | html        |

  Scenario: An export that fails leaves the old file
    Given the file holds "precious"
    When I run: export 01J00000000000000000000000 --format html -o FILE
    Then it ends with 1 and says: There is no session 01J00000000000000000000000.
    And the file still holds "precious", and nothing else is in its folder

  Scenario Outline: A session that <fate> while it is exported
    Given the file holds "precious"
    And a session with the key "parcels" and 25 messages
    When I run while the session <fate>: export SESSION --format html -o FILE
    Then it ends with 1 and says: There is no session SESSION.
    And the file still holds "precious", and nothing else is in its folder

    Examples:
      | fate                        |
      | is deleted                  |
      | is made again with 3 messages |
      | is made again with 30 messages |

  Scenario: Messages that are appended while it is exported stay out
    Given a session with the key "parcels" and 25 messages
    When I run while the session gets 30 more messages: export SESSION --format openai-chat -o FILE
    Then it ends well and prints: exported 25 messages to FILE
    And the conversation in the file has 25 messages

  # The OpenAI chat format

  @needs.conversations @needs.file
  Scenario: Real conversations come back equal
    When I run: import RECORDED --format openai-chat --messages-key traj
    Then it ends well
    When each session is exported as openai-chat, one behind the other into one file
    Then the file holds the 200 recorded conversations, equal in every message, with what stood beside the messages
    When I run on a fresh database: import FILE --format openai-chat
    Then it ends well and prints: imported 200, already there 0 (5,308 messages)

  Scenario Outline: A message of another format has its place, or is counted: <role>, <format>
    When a message of <role> in the format <format> is exported as openai-chat: <content>
    Then the conversation's only message is <message>
    And of the message these are left out: <left out>

    Examples: text, and parts that the format has
      | role      | format | content                                                        | message                                                                        | left out |
      | user      | text   | "hello"                                                        | {"role":"user","content":"hello"}                                              | nothing |
      | tool      | text   | "42"                                                           | {"role":"tool","content":"42","tool_call_id":"call_1"}                         | nothing |
      | assistant | text   | "42"                                                           | {"role":"assistant","content":"42"}                                            | 1 tool call id |
      | user      | parts  | [{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://a.example/b.png"}}] | {"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"https://a.example/b.png"}}]} | nothing |
      | user      | parts  | []                                                             | {"role":"user","content":[]}                                                   | nothing |
      | assistant | parts  | [{"type":"tool_call","tool_call_id":"c","name":"f","arguments":"{}"}] | {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]} | nothing |
      | tool      | parts  | [{"type":"tool_result","tool_call_id":"c","name":null,"content":"42"}] | {"role":"tool","tool_call_id":"c","content":"42"}                       | nothing |
      | tool      | parts  | [{"type":"tool_result","tool_call_id":"c","name":"f","content":[{"type":"text","text":"42"}]}] | {"role":"tool","tool_call_id":"c","name":"f","content":[{"type":"text","text":"42"}]} | nothing |
      | user      | openai.chat | {"role":"user","content":null,"anything":[1.0,"\ud800\u0000"]} | {"role":"user","content":null,"anything":[1.0,"\ud800\u0000"]}             | nothing |
      | user      | openai.chat | {"role":"assistant","content":"x"}                        | {"role":"assistant","content":"x"}                                             | 1 role |

    Examples: parts that the format has no place for
      | role      | format | content                                                        | message                                                                        | left out |
      | user      | parts  | [{"type":"text","text":"a"},{"type":"map","place":[1,2]}]      | {"role":"user","content":[{"type":"text","text":"a"}]}                         | 1 part |
      | user      | parts  | [{"type":"text","text":"a"},{"type":"tool_call","tool_call_id":"c","name":"f","arguments":"{}"}] | {"role":"user","content":[{"type":"text","text":"a"}]} | 1 part |
      | assistant | parts  | [{"type":"tool_call","tool_call_id":"c","name":"f","arguments":"{}"},{"type":"text","text":"a"}] | {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]} | 1 part |
      | assistant | parts  | [{"type":"text","text":"a"},{"type":"tool_call","tool_call_id":"c","name":"f","arguments":{}}] | {"role":"assistant","content":[{"type":"text","text":"a"}]} | 1 part |
      | tool      | parts  | [{"type":"tool_result","tool_call_id":"c","content":[7]},{"type":"text","text":"a"}] | {"role":"tool","content":[{"type":"text","text":"a"}]} | 1 part |

    Examples: messages that the format has no place for
      | role    | format    | content                        | message | left out            |
      | user    | parts     | [{"type":"map"},{"type":"map"}] | nothing | 1 parts message    |
      | tool    | parts     | [{"type":"tool_result","tool_call_id":"c","content":[{"type":"text","text":1}]}] | nothing | 1 parts message |
      | user    | json      | {"a":1}                        | nothing | 1 json message      |
      | planner | my.format | "any"                          | nothing | 1 my.format message |
      | planner | any.text  | "any"                          | nothing | 1 any.text message  |

  Scenario: What stands beside the messages is counted by its kind
    Given a session with everything that the OpenAI chat format cannot carry
    When I run: export SESSION --format openai-chat -o FILE
    Then it ends well
    And standard error is one line
    And standard error says: openai-chat cannot carry, and leaves out: 1 actor, 1 message id, 1 metadata object, 1 metadata value, 1 session title, 1 time, 1 token usage total, 1 workspace

  # The pages

  Scenario Outline: Tool calls are folded together with their results in <format>
    Given a session with tool calls: two at once answered the other way round, one never, and an answer to none
    When I run: export SESSION --format <format> -o FILE
    Then the <format> page shows these calls with these results
      | message | call    | result     |
      | 1       | weather | 21 degrees |
      | 1       | parcels | 2 parcels  |
      | 1       | stray   | 7 strays   |
      | 1       | trains  | no result  |
      | 6       | lonely  | 1 lonely   |

    Examples:
      | format   |
      | markdown |
      | html     |

  Scenario Outline: Every shape of content has its place in <format>
    Given a session with messages of every shape
    When I run: export SESSION --format <format> -o FILE
    Then it ends well
    And every text of the session's messages is on the <format> page
    And the <format> page is made of nothing but what its writer writes

    Examples:
      | format   |
      | markdown |
      | html     |

  @needs.conversations @needs.file
  Scenario Outline: Real conversations are whole in <format>
    When I run: import RECORDED --format openai-chat --messages-key traj
    And every tenth session is exported as <format>
    Then every text of the sessions' messages is on the <format> pages
    And the <format> pages are made of nothing but what their writer writes

    Examples:
      | format   |
      | markdown |
      | html     |

  Scenario Outline: Whatever anybody says stays text in <format>
    When any texts are written as <format>: as a title, a name, a message, a tool call and its result
    Then each page is made of nothing but what its writer writes, and each message's text is there in full
    And a writer that escapes nothing is found out on <format>

    Examples:
      | format   |
      | markdown |
      | html     |

  Scenario Outline: JSON of a tool is indented, unless that would change it: <json>
    When the JSON <json> is written as a tool's result in Markdown
    Then the page has the lines: <lines>

    Examples:
      | json                                                       | lines                        |
      | "{\"a\":1.5,\"b\":[true]}"                                 | { / "a": 1.5, / "b": [ / true / ] / } |
      | "{\"a\":1.50}"                                             | {"a":1.50}                   |
      | "{\"a\":1,\"a\":2}"                                        | {"a":1,"a":2}                |
      | "{a}"                                                      | {a}                          |
      | [{"type":"text","text":"{1}"},{"type":"text","text":"two"}] | {1} / two                   |
      | {"a":null}                                                 | { / "a": null / }            |
      | [[[[[[[[[[[[[[1]]]]]]]]]]]]]]                              | [[[[[[[[[[[[[[1]]]]]]]]]]]]]] |
      | ""                                                         | *(empty)*                    |

  Scenario: What is known of the session stands above its messages
    Given a session with the title "Costly" and token usage
    When I run: export SESSION --format markdown -o FILE
    Then the file holds the words: # Costly
    And the file holds the words: - Actor: desk
    And the file holds the words: - Tokens: 1,200 in, 30 out
    And the file holds the words: - Cost: 1

  Scenario: The page of HTML runs nothing and loads nothing
    Given a session with messages of every shape
    When I run: export SESSION --format html -o FILE
    Then the page's policy allows no script, no other address, and only its own style

  Scenario: Pictures within the messages are shown, other files are told by their length
    Given a session with a picture, a picture elsewhere, a vector picture and a long file
    When I run: export SESSION --format html -o FILE
    Then the html page shows 1 picture
    And standard error says: 1 embedded file
    And the file holds the words: https://elsewhere.example/b.png
    When I run: export SESSION --format markdown -o FILE
    Then standard error says: 1 embedded file, 5 message ids, 1 picture

  Scenario: Right-to-left texts, signs and code look as they are meant
    Given a session with a text in Arabic, emoji, control characters and code
    When I run: export SESSION --format html -o FILE
    Then the file holds the words: <p dir="auto">أين طردي؟ 📦</p>
    And the file holds the words: <p dir="auto">␛[31m red ␀ � end</p>
    And the file holds the words: <code>def &lt;b&gt;():
    And the file holds the words: <strong>bold</strong> and <code>&amp;</code>
    When I run: export SESSION --format markdown -o FILE
    Then the file holds the words: أين طردي؟ 📦
    And the file holds the words: ````python
    And the file holds the words: **bold** and `&`

  Scenario Outline: A long session is written a message at a time as <format>
    When 1,000 messages of 10,000 characters are written as <format>
    Then no more than 2 of them were ever drawn ahead, in less than 2 MiB

    Examples:
      | format      |
      | openai-chat |
      | markdown    |
      | html        |

  Scenario Outline: What is written to swell a page does not: <what> in <format>
    When a tool's result of <what> is written as <format>
    Then the page is at most 6 times as long, and written within 5 seconds

    Examples:
      | what                       | format   |
      | 900 lists in lists         | html     |
      | 20,000 lists in lists      | html     |
      | a wide list deep in lists  | html     |
      | a wide list deep in lists  | markdown |
      | a list that is long        | html     |
      | 500,000 backticks          | markdown |
      | 500,000 asterisks          | markdown |
      | 500,000 asterisks          | html     |
      | 500,000 tabs behind a fence | html    |
      | 100,000 fences             | html     |
