@needs.sync
Feature: The command line
  Everything a person or a script does with a ledger, without a line of Python. The result is on standard output,
  everything else on standard error; 0 is good, 1 an expected error or a finding, 2 a wrong use.

  Background:
    Given the command line is set to the database

  # The first steps

  Scenario: A conversation from its making to its deletion
    When I run: new --actor parcel-desk --title "Where is it?" --workspace spring --metadata '{"ticket":7}'
    Then it ends well and prints the id of a session
    When I run: append SESSION "Where is my parcel?"
    Then it ends well and prints: 1  ID
    When I run: append SESSION "On its way." --role assistant --model any --input-tokens 12 --output-tokens 4 --cost 0.0021
    Then it ends well and prints: 2  ID
    When I run: show SESSION
    Then it ends well
    And it prints a line with: Where is it?
    And it prints a line with: actor parcel-desk · workspace spring
    And it prints a line with: 2 messages · 12 in · 4 out · cost 0.0021
    And it prints a line with: user       Where is my parcel?
    And it prints a line with: assistant  On its way.
    When I run: usage SESSION
    Then it ends well and prints: Where is it?: 12 in · 4 out · cost 0.0021
    When I run: delete SESSION --yes
    Then it ends well and prints: deleted SESSION with 2 messages
    When I run: show SESSION
    Then it ends with 1 and says: There is no session SESSION.

  Scenario: Without an id, show shows the session that changed last
    Given a session with the title "First"
    And a session with the title "Second"
    When I run: show
    Then it ends well
    And it prints a line with: Second

  Scenario: On an empty ledger the first command is named
    When I run: show
    Then it ends with 2 and says: there are no sessions yet; make one with: sessionledger new
    When I run: list
    Then it ends well and says: There are no sessions here. Make one: sessionledger new

  Scenario: Listing goes on where the page before ended
    Given a session with the title "First"
    And a session with the title "Second"
    And a session with the title "Third"
    When I run: list --limit 2 --order oldest --json
    Then the titles listed are: First, Second
    When I run: list --limit 2 --order oldest --cursor CURSOR --json
    Then the titles listed are: Third
    When I run: list --limit 2
    Then it ends well and says: There are more: --cursor

  Scenario: Listing tells what is archived, what it cost and whose it is
    Given a session with the title "Old" that is archived
    And a session with the title "New" and token usage
    When I run: list
    Then it prints a line with: New
    And it prints no line with: Old
    When I run: list --archived
    Then it prints a line with: archived
    When I run: list --actor nobody --workspace nowhere
    Then it ends well and says: There are no sessions here.

  Scenario: Namespaces are apart
    Given a session with the title "Mine"
    When I run: --namespace other list --json
    Then the titles listed are none
    When I run: show SESSION --namespace other
    Then it ends with 1 and says: There is no session SESSION.

  # Appending

  Scenario: Content comes from standard input
    Given a session with the title "Piped"
    When I run with "Grüße aus Linden\n" on standard input: append SESSION -
    Then it ends well
    And message 1 of the session is "Grüße aus Linden"

  Scenario: Content that starts with a hyphen follows two hyphens
    Given a session with the title "Hyphens"
    When I run: append SESSION -- --json
    Then it ends well
    And message 1 of the session is "--json"

  Scenario: Content may be JSON
    Given a session with the title "Parts"
    When I run: append SESSION '[{"type":"text","text":"Look"},{"type":"image","url":"a.png"}]' --json-content
    Then it ends well
    When I run: show SESSION
    Then it prints a line with: ◆ image
    When I run: append SESSION '{"a":1,"a":2}' --json-content --format my.format
    Then it ends with 2 and says: content must not have the same key twice in one object
    When I run: append SESSION '{"a"' --json-content
    Then it ends with 2 and says: content must be one valid JSON value
    When I run: append SESSION "1 2" --json-content
    Then it ends with 2 and says: content must be one valid JSON value
    When I run: append SESSION --json-content -- DEEP
    Then it ends with 2 and says: content is nested too deeply
    When I run: append SESSION hello --metadata NaN
    Then it ends with 2 and says: metadata must not hold NaN

  Scenario: A message sent again is stored once
    Given a session with the title "Replay"
    When I run: append SESSION hello --message-id 01J00000000000000000000000
    And I run: append SESSION hello --message-id 01J00000000000000000000000
    Then it ends well and prints: 1  01J00000000000000000000000
    When I run: append SESSION other --message-id 01J00000000000000000000000
    Then it ends with 1 and says: Session SESSION holds other content under 1 message id(s): 01J00000000000000000000000.

  Scenario: An append that expects another sequence is refused
    Given a session with the title "Expected"
    When I run: append SESSION hello --expected-sequence 3
    Then it ends with 1 and says: Session SESSION ends at sequence 0, not at 3.

  # For machines

  Scenario: JSON has the attributes' names
    When I run: new --title "Where is it?" --json
    Then it prints JSON with the keys: session_id, namespace, key, title, actor_name, workspace, metadata, last_sequence, usage, version, created_at, updated_at, archived_at
    Given a session with the title "Machines"
    When I run: append SESSION hello --input-tokens 3 --cost 0.10 --json
    Then it prints JSON with the keys: message_id, session_id, sequence, role, format, content, content_sha256, tool_call_id, metadata, created_at
    When I run: show SESSION --json
    Then it prints JSON with the keys: session, messages
    When I run: usage SESSION --json
    Then it prints JSON with the keys: session_id, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens, cost
    And the value of cost is the string 0.1
    When I run: usage --json
    Then it prints JSON with the keys: sessions, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens, cost, by_actor
    When I run: export SESSION -o FILE --json
    Then it prints JSON with the keys: sha256, size, format_version, sessions, messages, usage_records, file
    When I run: import FILE --json
    Then it prints JSON with the keys: session
    When I run: delete SESSION --yes --json
    Then it prints JSON with the keys: deleted
    When I run: db current --json
    Then it prints JSON with the keys: revision
    When I run: db verify --json
    Then it prints JSON with the keys: revision, verified
    When I run: db upgrade --json
    Then it prints JSON with the keys: revision
    When I run: db upgrade --sql --json
    Then it prints JSON with the keys: sql

  Scenario: JSON survives every character and every output
    Given a session with the title "Characters"
    When I run: append SESSION '"lone \ud800 surrogate, NUL \u0000, ß"' --json-content
    And I run: show SESSION --json
    Then the JSON holds that content
    When I run on an output that is ASCII: show SESSION --json
    Then the JSON holds that content

  # Reading

  Scenario: A conversation with tools is folded on a terminal and unfolded when asked
    Given the imported conversations of "conversations.json"
    When I run on a terminal: show
    Then it ends well
    And it prints a line with: → find_trains(origin="Lisbon", destination="Madrid", travellers=2)
    And it prints a line with: ← find_trains
    And it prints a line with: more lines
    And it prints no line with: Rule 9
    When I run on a terminal: show --full
    Then it prints a line with: "origin": "Lisbon"
    And it prints a line with: Rule 9
    When I run on a terminal: show --last 2
    Then it prints a line with: showing
    When I run on a terminal: show --after 100
    Then it prints a line with: showing none of them
    When I run: show --full
    Then it prints a line with: "origin": "Lisbon"

  Scenario Outline: Times, sizes and costs are in words
    Then <amount> of <what> is told as "<words>"

    Examples:
      | amount    | what    | words         |
      | 59        | seconds | just now      |
      | 60        | seconds | 1 min ago     |
      | 7199      | seconds | 1 h ago       |
      | 86400     | seconds | 1 day ago     |
      | 2591999   | seconds | 29 days ago   |
      | 999       | bytes   | 999 B         |
      | 2149      | bytes   | 2.1 kB        |
      | 7000000   | bytes   | 7.0 MB        |
      | 1234.5    | cost    | 1,234.50      |
      | 0.00310   | cost    | 0.0031        |

  Scenario: What would steer a terminal is shown as a sign
    Given a session with the title "Escapes"
    When I run: append SESSION '"before \u001b[2J \u202e after"' --json-content
    And I run on a terminal: show SESSION
    Then it prints a line with: before ␛[2J � after
    When I run: show SESSION
    Then it prints a line with: before ␛[2J � after

  Scenario: Every shape of content can be shown
    Given a session with messages of every shape
    When I run on a terminal: show SESSION
    Then it ends well
    When I run on a terminal: show SESSION --full
    Then it ends well
    When I run: show SESSION
    Then it ends well
    And it prints a line with: (empty)
    And it prints a line with: ◆ data

  Scenario Outline: A listing fits the terminal, and never breaks an id
    Given the imported conversations of "conversations.json"
    And a session with the title "Costly" and token usage
    When I run on a terminal <width> wide: list
    Then it ends well
    And no line is longer than <width>
    And it prints a line with: SESSION
    When I run on a terminal <width> wide: usage
    Then no line is longer than <width>

    Examples:
      | width |
      | 60    |
      | 80    |
      | 200   |

  # Files

  Scenario: A session moves to another database
    Given a session with the title "Moves" and token usage
    And a message "hello" in it
    When I run: export SESSION -o FILE
    Then it ends well
    And it prints a line with: exported 1 session, 1 message, 
    And the file is readable by its owner alone, and nothing else is in its folder
    When I run on a fresh database: import FILE
    Then it ends well
    And it prints a line with: with 1 message
    When I run again there: import FILE
    And I run again there: list --json
    Then the titles listed are: Moves
    When I run again there: import FILE --as-copy
    And I run again there: list --json
    Then the titles listed are: Moves, Moves

  Scenario: Long work shows a sign of life on a terminal, beside the result
    Given a session with the title "Long"
    When I run on a terminal: export SESSION -o FILE
    Then it ends well
    And standard error says: exporting
    When I run on a terminal: import FILE
    Then it ends well
    And standard error says: importing
    When the conversations are written as JSON array
    And I run on a terminal: import CONVERSATIONS --format openai-chat --messages-key turns
    Then it ends well and prints: imported 3, already there 0 (15 messages)
    And standard error says: 3/3

  Scenario: An archive goes through a pipe
    Given a session with the title "Pipes"
    When I run: export SESSION
    Then it ends well and says: exported 1 session, 0 messages, 
    When I run with that output on standard input, on a fresh database: import -
    Then it ends well
    And it prints a line with: with 0 messages

  Scenario: An export that fails leaves the old file
    Given the file holds "precious"
    When I run: export 01J00000000000000000000000 -o FILE
    Then it ends with 1 and says: There is no session 01J00000000000000000000000.
    And the file still holds "precious", and nothing else is in its folder

  Scenario: A device is written to and not replaced
    Given a session with the title "Device"
    When I run: export SESSION -o /dev/null
    Then it ends well
    And /dev/null is still a device

  Scenario: An export into a folder that is not there names the file
    Given a session with the title "Nowhere"
    When I run: export SESSION -o FOLDER/missing/session.archive
    Then it ends with 1 and says: FOLDER/missing/session.archive: No such file or directory

  Scenario: An archive is no text for a terminal
    Given a session with the title "Terminal"
    When I run with standard output on a terminal: export SESSION
    Then it ends with 2 and says: name a file: -o session.archive

  Scenario: A changed archive is refused
    Given a session with the title "Changed"
    When I run: export SESSION -o FILE
    And one byte of the file is changed
    And I run: import FILE
    Then it ends with 1 and says: The archive

  Scenario: A file that is not there
    When I run: import FILE
    Then it ends with 1 and says: No such file or directory

  # Conversations of others

  Scenario: Conversations become sessions, and the same file again changes nothing
    Given the imported conversations of "conversations.json"
    Then it ends well and prints: imported 3, already there 0 (15 messages)
    When I run: import CONVERSATIONS --format openai-chat --messages-key turns --actor travel-desk
    Then it ends well and prints: imported 0, already there 3 (0 messages)
    When I run: list --json --actor travel-desk
    Then 3 sessions are listed
    And every message equals the one in the file, with its tool call's id

  Scenario Outline: Conversations come in every form
    When the conversations are written as <form>
    And I run: import CONVERSATIONS --format openai-chat --messages-key turns --json
    Then it ends well
    And the value of imported is 3
    And every message equals the one in the file, with its tool call's id

    Examples:
      | form                 |
      | JSON array           |
      | JSON Lines           |
      | gzip JSON array      |
      | gzip JSON Lines      |
      | two gzip members     |
      | UTF-8 with a mark    |
      | indented JSON array  |

  Scenario: Conversations may be bare lists, without messages, and without words of a user
    When a file of conversations holds: [[{"role":"user","content":"  "},{"role":"user","content":"TITLE"}], {"messages":[]}, [{"role":"assistant","content":"Hi"}]]
    And I run: import CONVERSATIONS --format openai-chat
    Then it ends well and prints: imported 3, already there 0 (3 messages)
    When I run: import CONVERSATIONS --format openai-chat
    Then it ends well and prints: imported 0, already there 3 (0 messages)
    And the sessions' titles are the first 99 characters of the title, nothing and nothing

  Scenario: Two namespaces may hold the same file
    Given the imported conversations of "conversations.json"
    When I run: import CONVERSATIONS --format openai-chat --messages-key turns --namespace other
    Then it ends well and prints: imported 3, already there 0 (15 messages)
    When I run: show --namespace other --last 1
    Then it prints a line with: namespace other
    And it prints a line with: showing 5 to 5

  Scenario: Conversations come through a pipe
    When the conversations are written as gzip JSON Lines
    And I run with that file on standard input: import - --format openai-chat --messages-key turns
    Then it ends well and prints: imported 3, already there 0 (15 messages)
    When conversations may have 10 bytes at most
    And I run with that file on standard input: import - --format openai-chat --messages-key turns
    Then it ends with 1 and says: standard input: must be at most 10 bytes

  Scenario: A conversation that goes on here is not imported again
    Given the imported conversations of "conversations.json"
    When I run: append SESSION "And one more thing."
    And I run: import CONVERSATIONS --format openai-chat --messages-key turns
    Then it ends well and prints: imported 0, already there 3 (0 messages)

  Scenario: An import goes on although the conversation went on here
    When the conversations are written as JSON Lines
    And an import of them is killed after 1 session and 2 messages of the next
    And three messages are appended to the session that is not whole
    And I run: import CONVERSATIONS --format openai-chat --messages-key turns
    Then it ends well and prints: imported 2, already there 1 (10 messages)
    And the second session has all its messages, and the three

  Scenario: A file that changes while it is read is told
    When the conversations are written as a big file
    And I run while the file changes: import CONVERSATIONS --format openai-chat --messages-key turns
    Then it ends with 1 and says: file was changed while it was read; import it again

  Scenario: A file and a conversation may only be so long
    When the conversations are written as a big file
    And a conversation may have 1000 bytes at most
    And I run: import CONVERSATIONS --format openai-chat --messages-key turns
    Then it ends with 1 and says: conversation 1 must be valid JSON of at most 1000 bytes
    When conversations may have 10 bytes at most
    And I run: import CONVERSATIONS --format openai-chat
    Then it ends with 1 and says: file must be at most 10 bytes, decompressed

  Scenario: What does not fit into metadata is left out, and said
    When the conversations are written as one big value
    And I run: import CONVERSATIONS --format openai-chat --messages-key turns
    Then it ends well
    And standard error says: conversation 1: log is too long for a session's metadata and was left out
    And the first session's metadata has the keys: task, trial
    When the conversations are written as twelve big values
    And I run: import CONVERSATIONS --format openai-chat --messages-key turns
    Then it ends well and says: … and 2 more were left out for the same reason

  Scenario: An import that was killed half way is run again
    When the conversations are written as JSON Lines
    And an import of them is killed after 1 session and 2 messages of the next
    And I run: import CONVERSATIONS --format openai-chat --messages-key turns
    Then it ends well
    And it prints a line with: imported 2, already there 1
    And every message equals the one in the file, with its tool call's id

  Scenario Outline: Conversations that are wrong are refused before anything is written
    When a file of conversations holds: <text>
    And I run: import CONVERSATIONS --format openai-chat
    Then it ends with 1 and says: <problem>
    And nothing was stored

    Examples:
      | text                                                                        | problem                                          |
      | nothing                                                                     | file is empty                                    |
      | [                                                                           | file must be a whole JSON array                  |
      | [{"messages":[]}                                                            | it goes wrong after conversation 1               |
      | [{"messages":[]},]                                                          | conversation 2 must be a JSON object             |
      | [{"messages":[]}] x                                                         | file must end where its JSON array ends          |
      | {"messages":[]} 7                                                           | conversation 2 must be a JSON object             |
      | {"messages":[]} {"mess                                                      | conversation 2 must be valid JSON                |
      | {"turns":[]}                                                                | under the key messages; give its own key with    |
      | {"messages":{}}                                                             | must hold its messages as a list                 |
      | {"messages":[{"role":"user","content":"a"},7]}                              | conversation 1, message 2 must be an object      |
      | {"messages":[{"role":"no word"}]}                                           | conversation 1, message 1: role must be a word   |
      | {"messages":[{"role":"tool","tool_call_id":7}]}                             | message 1: tool_call_id must be                  |
      | {"messages":[],"messages":[]}                                               | must not have the same key twice                 |
      | {"messages":[],"score":NaN}                                                 | must not hold NaN                                |
      | {"messages":[],"score":1e999}                                               | beyond what a double can be                      |
      | {"messages":[],"n":123456789012345678901234567890123456789012345}           | more than 40 digits                              |

  Scenario Outline: Conversations that are damaged or too much are refused
    When a file of conversations is <state>
    And I run: import CONVERSATIONS --format openai-chat
    Then it ends with 1 and says: <problem>
    And nothing was stored

    Examples:
      | state              | problem                            |
      | no UTF-8           | file must be UTF-8                 |
      | cut UTF-8          | file must be UTF-8                 |
      | cut gzip           | its gzip data cannot be read       |
      | a gzip bomb        | must not grow more than 200 times  |
      | nested too deeply  | nested                             |
      | too deep metadata  | its metadata must not be nested    |
      | too deep           | message 1: content must not be nested |

  # Errors

  Scenario Outline: A wrong use is one line and exit code 2
    Given a session with the title "Wrong"
    When I run: <arguments>
    Then it ends with 2 and says: <problem>

    Examples:
      | arguments                                         | problem                                     |
      | appendd                                           | Did you mean "append"?                      |
      | append                                            | requires an argument                        |
      | show SESSION --colour red                         | Unknown option                              |
      | show SESSION --last 2 --after 1                   | give --last or --after, not both            |
      | show SESSION --last 0                             | last must be                                |
      | show no-id                                        | session_id must be a ULID                   |
      | list --limit x                                    | --limit                                     |
      | list --cursor x                                   | cursor                                      |
      | delete SESSION                                    | add --yes                                   |
      | import FILE --actor me                            | go with --format openai-chat                |
      | import FILE --format openai-chat --as-copy        | goes with --format archive                  |
      | list --database nonsense                          | must be a database URL                      |
      | db upgrade nonsense                               | revision                                    |

  Scenario: A person is asked before a session is deleted
    Given a session with the title "Precious"
    When I run on a terminal, answering "n": delete SESSION
    Then it ends with 1 and says: nothing was deleted
    When I run on a terminal, answering "y": delete SESSION
    Then it ends well
    When I run: show SESSION
    Then it ends with 1 and says: There is no session

  Scenario: Conversations taken for an archive
    When a file of conversations holds: [{"messages":[]}]
    And I run: import CONVERSATIONS
    Then it ends with 1 and says: Conversations need: --format openai-chat
    And nothing was stored

  Scenario: The command to run next names the database that was given
    When I run: db verify --database sqlite:///elsewhere.db
    Then it ends with 1 and says: sessionledger db upgrade --database sqlite:///elsewhere.db
    And standard error is one line

  Scenario: A database that cannot be reached is one line without a password
    When I run on a database that cannot be reached: list
    Then it ends with 1
    And standard error is one line
    And nothing printed holds the password

  Scenario: Standard output that is closed is no noise
    Given a session with the title "Closed"
    When I run as a process whose reader goes away: list
    Then standard error is empty

  Scenario: Standard output that is full is one line
    Given a session with the title "Full"
    When I run as a process that writes to a full device: list
    Then it ends with 1 and says: No space left on device
    And standard error is one line

  Scenario: Standard input that is no UTF-8
    Given a session with the title "Bytes"
    When I run with the byte 255 on standard input: append SESSION -
    Then it ends with 2 and says: standard input is no UTF-8

  Scenario: Without its driver it names the extra to install
    When I run as a process without psycopg: list --database postgresql://somebody:hunter2@127.0.0.1/ledger
    Then it ends with 1 and says: pip install 'sessionledger[postgres]'
    And standard error is one line
    And nothing printed holds the password

  Scenario: It is a module, too
    When I run as a process: --version
    Then it ends well and prints the version
    When I run as a process: --help
    Then it ends well
    And it prints a line with: Try it with invented conversations: sessionledger demo

  Scenario: Without its extra it names it
    When I run as a process without cyclopts: list
    Then it ends with 2 and says: pip install 'sessionledger[cli]'
    And standard error is one line

  # The tables

  Scenario: The tables are made, checked and taken back
    Given an empty database
    When I run: db current
    Then it ends well and says: The database has no sessionledger tables.
    When I run: db verify
    Then it ends with 1 and says: sessionledger db upgrade
    When I run: db upgrade
    Then it ends well and prints: The tables are at REVISION.
    When I run: db current
    Then it ends well and prints: REVISION
    When I run: db verify
    Then it ends well and prints: The tables are at REVISION, as this release needs them.
    When I run: new
    And I run: db downgrade base
    Then it ends with 1 and says: would lose sessions and their messages. Nothing was changed. Allow it with --allow-data-loss
    When I run: db downgrade zz_001_past
    Then it ends with 2 and says: revision is not an older one that this release knows; it knows b1_001_resource_registry, a7_001
    When I run: db downgrade base --allow-data-loss
    Then it ends well and prints: There are no tables any more.

  Scenario: The SQL of an upgrade can be read before it is run
    Given an empty database
    When I run: db upgrade --sql
    Then it ends well
    And it prints a line with: CREATE TABLE sessions
    When I run: db current
    Then it ends well and says: The database has no sessionledger tables.
    When I run: db upgrade
    And I run: db verify
    Then it ends well

  @needs.file
  Scenario: Without a database it keeps an SQLite file in the user's data folder
    Given a home of its own and no database
    When I run: new --title Mine
    Then it ends well
    And the ledger is in the user's data folder, which is the user's alone
    When I run: list
    Then it prints a line with: Mine

  @needs.file
  Scenario Outline: The data folder follows the operating system's custom
    Then the data folder on <system> with <variable> set to "<value>" is "<folder>"

    Examples:
      | system | variable      | value      | folder                                            |
      | linux  | XDG_DATA_HOME | /data      | /data/sessionledger                               |
      | linux  | XDG_DATA_HOME | data       | HOME/.local/share/sessionledger                   |
      | linux  | XDG_DATA_HOME |            | HOME/.local/share/sessionledger                   |
      | darwin | XDG_DATA_HOME | /data      | HOME/Library/Application Support/sessionledger    |
      | win32  | LOCALAPPDATA  | /appdata   | /appdata/sessionledger                            |
      | win32  | LOCALAPPDATA  |            | HOME/AppData/Local/sessionledger                  |

  # The tour

  @needs.file
  Scenario: The demo shows everything and leaves nothing
    When I run: demo
    Then it ends well
    And it prints a line with: content hashes are equal
    And it prints a line with: refused, before anything was written
    And it prints a line with: That was all
    When I run on a terminal: demo --keep
    Then it ends well
    And the folder it names holds a ledger
    When I run: demo --json
    Then it prints JSON with the keys: steps, folder

  # Real conversations

  @needs.conversations
  Scenario: Two hundred recorded conversations go in, out and across
    When I run: import RECORDED --format openai-chat --messages-key traj --actor airline
    Then it ends well and prints: imported 200, already there 0 (5,308 messages)
    When I run: import RECORDED --format openai-chat --messages-key traj --actor airline
    Then it ends well and prints: imported 0, already there 200 (0 messages)
    When I run on a terminal: show
    Then it ends well
