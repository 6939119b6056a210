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
    When I run: usage
    Then it ends well
    And it prints the row: all  1  12  4  0.0021

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
    Then it prints JSON with the keys: session_id, namespace, key, title, actor_name, workspace, metadata, last_sequence, usage, version, created_at, updated_at, archived_at, source
    Given a session with the title "Machines"
    When I run: append SESSION hello --input-tokens 3 --cost 0.10 --json
    Then it prints JSON with the keys: message_id, session_id, sequence, role, format, content, content_sha256, tool_call_id, metadata, created_at
    When I run: show SESSION --json
    Then it prints JSON with the keys: session, messages
    When I run: usage SESSION --json
    Then it prints JSON with the keys: session_id, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens, cost, imported
    And the value of cost is the string 0.1
    When I run: usage --json
    Then it prints JSON with the keys: records, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens, cost, imported, by_actor
    When I run: export SESSION -o FILE --json
    Then it prints JSON with the keys: sha256, size, format_version, sessions, messages, usage_records, compressed_size, compression, file, signature_file, signature_key_id, seconds
    When I run: import FILE --json
    Then it prints JSON with the keys: file, sha256, session_ids, messages, usage_records, signature_key_id, seconds, session
    When I run: archive verify FILE --json
    Then it prints JSON with the keys: file, ok, sha256, size, compression, compressed_size, format_version, generator, schema_revision, sessions, messages, usage_records, signature, seconds
    When I run: archive show FILE --json
    Then it prints JSON with the keys: file, sha256, size, compression, compressed_size, format_version, generator, schema_revision, sessions, messages, usage_records, signature, seconds, listed
    When I run: archive keygen -o FOLDER/mine --json
    Then it prints JSON with the keys: key_id, private_key, public_key
    When I run: archive sign FILE --key FOLDER/mine.pem --json
    Then it prints JSON with the keys: file, key_id, sha256, signature_file
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
      | 0.0094    | duration | 9 ms         |
      | 1.26      | duration | 1.3 s        |
      | 59.4      | duration | 59 s         |
      | 125       | duration | 2 min 5 s    |
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

  # What was spent

  Scenario: What was spent is summed by actor or model, and what was imported stands apart
    Given these records of token usage:
      | session | actor   | model | input | output | cost |
      | First   | desk    | small | 100   | 10     | 0.5  |
      | First   | desk    | large | 200   | 20     |      |
      | Second  | planner | small | 1000  | 1      | 2    |
      | Third   |         |       | 4     |        |      |
    When I run: usage
    Then it prints the row: -  1  4  0  -
    And it prints the row: desk  2  300  30  0.50
    And it prints the row: planner  1  1,000  1  2.00
    And it prints the row: all  4  1,304  31  2.50
    And it prints no line with: imported
    When I run: usage --by model
    Then it prints the row: small  2  1,100  11  2.50
    When I run: export --all -o FILE
    And I run on a fresh database: new --actor desk
    And I run again there: append SESSION there --input-tokens 5
    And I run again there: import FILE
    And I run again there: usage
    Then it prints the row: desk  spent here  1  5  0  -
    And it prints the row: all  spent here  1  5  0  -
    And it prints the row: desk  imported  2  300  30  0.50
    And it prints the row: all  imported  4  1,304  31  2.50
    When I run on a terminal there 60 wide: usage
    Then it prints the row: all  imported  4  1,304  31  2.50
    And no line is longer than 60
    When I run again there: usage --json
    Then the JSON has: {"records": 1, "input_tokens": 5, "imported": {"records": 4, "input_tokens": 1304, "cost": "2.5"}}
    And the entry of by_actor with the actor_name desk has: {"input_tokens": 5, "imported": {"input_tokens": 300}}
    And the entry of by_actor with the actor_name null has: {"records": 0, "imported": {"input_tokens": 4}}
    When I run again there: usage --by model --json
    Then the entry of by_model with the model large has: {"input_tokens": 0, "imported": {"input_tokens": 200}}
    When I run again there: usage --since 1h --until 2999-01-01
    Then it prints the row: all  imported  4  1,304  31  2.50
    When I run again there: usage --until 1h
    Then it prints the row: all  0  0  0

  Scenario: What deleted sessions spent is counted
    Given these records of token usage:
      | session | actor | model | input | output | cost |
      | First   | desk  | small | 100   | 10     | 0.5  |
      | Second  | desk  | small | 7     | 10     | 0.5  |
    When I run: delete FIRST --yes
    And I run: usage
    Then it prints the row: desk  2  107  20  1.00

  Scenario: Of a session that goes on here it is told what was imported
    Given these records of token usage:
      | session | actor | model | input | output | cost |
      | First   | desk  | small | 100   | 10     | 0.5  |
    When I run: export FIRST -o FILE
    And I run on a fresh database: import FILE --json
    And the imported session is meant
    And I run again there: append SESSION more --input-tokens 5 --cost 1
    And I run again there: usage SESSION
    Then it prints a line with: First: 105 in · 10 out · cost 1.50
    And it prints a line with: of these imported, and not spent here: 100 in · 10 out · cost 0.50
    When I run again there: usage SESSION --until 1h
    Then it ends well and prints: First: 0 in · 0 out
    When I run again there: usage SESSION --json
    Then the JSON has: {"input_tokens": 105, "cost": "1.5", "imported": {"input_tokens": 100, "cost": "0.5"}}
    When I run again there: show SESSION
    Then it prints a line with: imported from FIRST in the archive
    When I run again there: show SESSION --json
    Then the JSON tells its source: FIRST and the digest of the file

  Scenario Outline: A time is a date, a time or an age
    Then --since <text> at noon of 2027-03-12 in UTC means <time>

    Examples:
      | text                      | time                |
      | 2027-03-10                | 2027-03-10 00:00:00 |
      | 2027-03-10T21:25          | 2027-03-10 21:25:00 |
      | 2027-03-10T21:25:09+01:00 | 2027-03-10 20:25:09 |
      | 2027-03-10T21:25Z         | 2027-03-10 21:25:00 |
      | 30m                       | 2027-03-12 11:30:00 |
      | 12h                       | 2027-03-12 00:00:00 |
      | 7d                        | 2027-03-05 12:00:00 |
      | 2w                        | 2027-02-26 12:00:00 |
      | 7 d                       | refused             |
      | -7d                       | refused             |
      | 999999d                   | refused             |
      | ٧d                        | refused             |
      | 0001-01-01T00:00+10:00    | refused             |
      | 1d12h                     | refused             |

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
      | import                                            | requires an argument                        |
      | import FILE --format openai-chat --allow line=1   | go with --format archive                    |
      | import FILE --signature FILE.sig                  | --signature goes with --require-signature   |
      | import FILE FOLDER/b --signature FILE.sig --require-signature FOLDER/k | goes with one file     |
      | import - --require-signature FOLDER/k             | standard input has no signature beside it   |
      | import FILE --allow sessions                      | --allow must be NAME=NUMBER                 |
      | import FILE --allow sessions=-1                   | --allow must be NAME=NUMBER                 |
      | import FILE --allow colour=1                      | with a name of compressed_size, size, ratio |
      | import FILE --allow sessions=0                    | sessions must be from 1                     |
      | archive show FILE --limit -1                      | --limit must be from 0                      |
      | archive sign - --key FILE                         | a signature is written beside a file        |
      | archive sign FILE                                 | --key requires an argument                  |
      | archive verify                                    | requires an argument                        |
      | export                                            | take all of them with --all                 |
      | export SESSION --all                              | with --all, not both                        |
      | export SESSION --actor desk                       | go with --all                               |
      | export SESSION --no-archived -o FILE              | go with --all                               |
      | export --all --format html                        | html is for one session                     |
      | export SESSION SESSION --format markdown          | markdown is for one session                 |
      | export SESSION --format html --compress gzip      | go with --format archive                    |
      | export SESSION --format html --sign-key FILE      | go with --format archive                    |
      | export SESSION --sign-key FILE                    | --sign-key needs a file                     |
      | export SESSION --compress xz                      | --compress                                  |
      | export --all --since yesterday                    | --since must be a date or a time such as    |
      | usage --until 2026-02-30                          | --until must be a date or a time such as    |
      | usage --by colour                                 | --by                                        |
      | usage SESSION --by model                          | --by is for all sessions                    |
      | import FILE --actor me                            | go with --format openai-chat                |
      | import FILE --format openai-chat --as-copy        | go with --format archive                  |
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
