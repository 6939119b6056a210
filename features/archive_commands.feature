@needs.sync @needs.file
Feature: Sessions as files, on the command line
  Archives of one session or many are written, verified, signed, shown and read; conversations of others are read. Each
  file is taken whole or not at all. The result is on standard output, everything else on standard error.

  Background:
    Given the command line is set to the database

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

  Scenario Outline: Long work shows a sign of life on a terminal, beside the result
    Given a session with the title "Long"
    And a message "hello" in it
    When I run on a terminal: export SESSION -o <file>
    Then it ends well
    And standard error has a line with: exporting, 1/1 message · 
    When I run on a terminal: import <file>
    Then it ends well
    And standard error has a line with: checking, kB
    And standard error has a line with: checking, 1/1 message · 
    And standard error has a line with: importing, 1/1 message · 
    When I run on a terminal: archive verify <file>
    Then it ends well
    And standard error has a line with: checking, 1/1 message · 
    When I run on a terminal: archive show <file>
    Then it ends well
    And standard error has a line with: reading, 1/1 message · 
    And standard error does not say: importing
    When I run: import <file>
    Then standard error is empty

    Examples:
      | file        |
      | FILE        |
      | FILE.gz     |
      | FILE.zst    |

  Scenario: An archive from a FIFO shows a sign of life, too
    Given a session with the title "Long"
    And a message "hello" in it
    When I run: export SESSION -o FILE
    And I run on a terminal while FILE is written to FOLDER/fifo: import FOLDER/fifo --special-file
    Then it ends well
    And standard error has a line with: checking, kB
    And standard error has a line with: importing, 1/1 message · 

  Scenario: Conversations show a sign of life
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

  @needs.file
  Scenario: Commands work in pipes
    Given a session with the title "Pipes"
    And a message "hello" in it
    When I run as a pipe: export SESSION --compress zstd | archive verify -
    Then it ends well
    And it prints a line with: standard input: OK, 1 session, 1 message, 0 usage records
    When I run as a pipe: export SESSION --compress gzip | import -
    Then it ends well
    And it prints a line with: from standard input with 1 message, SHA-256
    When I run as a pipe: export SESSION | archive show - --json
    Then the JSON has: {"compression": null, "messages": 1}
    When I run as a pipe: export SESSION | import - --allow size=100
    Then it ends with 1 and says: standard input: The archive exceeds the limit of 100 bytes. More is allowed with --allow.
    When I run as a pipe: export SESSION | archive verify - --allow size=100
    Then it ends with 1 and says: standard input: The archive exceeds the limit of 100 bytes. More is allowed with --allow.
    When I run as a pipe: export SESSION | import /dev/stdin
    Then it ends with 1 and says: /dev/stdin is a symbolic link; name the file itself, or allow it with --special-file
    When I run as a pipe: export SESSION | import /dev/stdin --special-file
    Then it ends well
    And it prints a line with: from /dev/stdin with 1 message

  # Several sessions

  Scenario: Several sessions move in one file
    Given sessions of three kinds
    When I run: export FIRST THIRD -o FILE
    Then it ends well
    And it prints a line with: exported 2 sessions, 1 message, 
    When I run on a fresh database: import FILE
    Then it ends well
    And it prints a line with: imported 2 sessions from FILE with 1 message, SHA-256
    And it prints the id of each session there
    When I run again there: import FILE
    And I run again there: list --json --order oldest
    Then the titles listed are: First, Third

  Scenario Outline: All of them, or those that a filter leaves: <filter>
    Given sessions of three kinds
    When I run: export --all <filter> -o FILE
    And I run: archive show FILE --json
    Then the archive's titles are: <titles>

    Examples:
      | filter                                   | titles               |
      |                                          | First, Second, Third |
      | --no-archived                            | First, Third         |
      | --actor planner                          | Third                |
      | --workspace spring                       | Third                |
      | --actor desk --workspace spring          | none                 |
      | --since 1h                               | First, Second, Third |
      | --since 0m                               | none                 |
      | --since 2000-01-01                       | First, Second, Third |
      | --since 2999-01-01T00:00+02:00           | none                 |

  Scenario: Of many sessions ten are named, and fifty shown
    Given a ledger of 52 sessions
    When I run: export --all -o FILE
    And I run: import FILE
    Then it ends well
    And it prints 12 lines
    And it prints a line with: … and 42 more
    When I run: archive show FILE
    Then it ends well and says: 2 sessions more: --limit 52
    And it prints 55 lines
    When I run: archive show FILE --limit 52
    Then standard error is empty
    And it prints 57 lines
    When I run: archive show FILE --limit 0
    Then it ends well and says: 52 sessions more: --limit 52
    And it prints 4 lines

  Scenario: An archive of no session
    When I run: export --all -o FILE
    Then it ends well
    And it prints a line with: exported 0 sessions, 0 messages, 
    When I run: archive show FILE
    Then it ends well and says: There are no sessions here.
    When I run: import FILE
    Then it ends well
    And it prints a line with: imported 0 sessions from FILE with 0 messages

  Scenario: What is beyond the limits of an import is said when it is exported
    Given sessions of three kinds
    And an archive may have 2 sessions by default
    When I run: export --all -o FILE
    Then it ends well and says: This is more than an import allows by itself: import --allow sessions=3
    When I run: export FIRST SECOND -o FILE
    Then standard error is empty

  # Several files

  Scenario: Of several files the damaged one is refused, and the others are imported
    Given sessions of three kinds
    When I run: export FIRST -o FOLDER/first.archive
    And I run: export SECOND -o FILE
    And one byte of the file is changed
    And I run: export THIRD -o FOLDER/third.archive.zst
    And I run on a fresh database: import FOLDER/first.archive FILE FOLDER/missing FOLDER/third.archive.zst
    Then it ends with 1
    And it prints 2 lines
    And it prints a line with: from FOLDER/first.archive with 0 messages
    And it prints a line with: from FOLDER/third.archive.zst with 1 message
    And standard error has 3 lines
    And standard error says: sessionledger: FILE: The archive
    And standard error says: sessionledger: FOLDER/missing: No such file or directory
    And standard error says: sessionledger: refused: 2 of 4 files
    When I run again there: list --json --order oldest
    Then the titles listed are: First, Third
    When I run again there: import FOLDER/first.archive FILE FOLDER/third.archive.zst --json
    Then it ends with 1
    And each line is JSON of one file: FOLDER/first.archive, FOLDER/third.archive.zst
    When I run: archive verify FOLDER/first.archive FILE FOLDER/missing FOLDER/third.archive.zst
    Then it ends with 1
    And it prints 2 lines
    And it prints a line with: FOLDER/third.archive.zst: OK, 1 session, 1 message, 0 usage records, 
    And standard error says: sessionledger: refused: 2 of 4 files
    When I run: archive verify FOLDER/first.archive FILE FOLDER/missing FOLDER/third.archive.zst --json
    Then it ends with 1
    And each line is JSON of one file: FOLDER/first.archive, FILE, FOLDER/missing, FOLDER/third.archive.zst
    And of these are ok: true, false, false, true

  Scenario: Of several files of conversations the wrong one is refused
    When the conversations are written as twelve big values
    And the file holds "no conversation"
    And I run: import CONVERSATIONS FILE --format openai-chat --messages-key turns
    Then it ends with 1
    And it prints a line with: CONVERSATIONS: imported 1, already there 0 (5 messages)
    And standard error says: CONVERSATIONS: conversation 1: log
    And standard error says: CONVERSATIONS: … and 2 more were left out
    And standard error says: sessionledger: FILE: conversation 1 must
    When I run: import CONVERSATIONS FILE --format openai-chat --messages-key turns --json
    Then each line is JSON of one file: CONVERSATIONS

  Scenario: A database that fails ends an import of several files at once
    Given a session with the title "Away"
    When I run: export SESSION -o FILE
    And I run while the database is away after the first file: import FILE FILE FILE
    Then it ends with 1
    And standard error is one line
    And it prints 1 lines
    And two imports were tried

  # Compression

  Scenario Outline: The file's ending says how it is compressed, and --compress says it better
    Given a session with the title "Small"
    When I run: export SESSION -o FOLDER/<file> <option>
    Then it ends well
    And the file FOLDER/<file> is compressed with <compression>
    And the summary tells the length with <compression>
    When I run: archive verify FOLDER/<file>
    Then the summary tells the length with <compression>
    When I run: import FOLDER/<file>
    Then it ends well

    Examples:
      | file        | option          | compression |
      | a.archive   |                 | nothing     |
      | a.gz        |                 | gzip        |
      | a.zst       |                 | zstd        |
      | a.zst       | --compress gzip | gzip        |
      | a.gz        | --compress none | nothing     |
      | a           | --compress zstd | zstd        |

  @needs.file
  Scenario: Without the library for zstd its extra is named
    Given a session with the title "No zstd"
    And the file holds "precious"
    When I run as a process without backports.zstd and compression.zstd: export SESSION --compress zstd -o FILE
    Then it ends with 1 and says: pip install 'sessionledger[archives]'
    And standard error is one line
    And the file still holds "precious", and nothing else is in its folder
    When I run: export SESSION -o FOLDER/a.zst
    And I run as a process without backports.zstd and compression.zstd: import FOLDER/a.zst
    Then it ends with 1 and says: pip install 'sessionledger[archives]'
    When I run: export SESSION -o FILE
    And I run as a process without backports.zstd and compression.zstd: archive verify FOLDER/a.zst FILE
    Then it ends with 1
    And standard error says: sessionledger: FOLDER/a.zst: backports.zstd is not installed
    And it prints a line with: FILE: OK

  # Signatures

  Scenario: Signed by the one, required by the other
    Given a session with the title "Signed"
    When I run: archive keygen -o FOLDER/mine
    Then it ends well
    And it prints a line with: sign with FOLDER/mine.pem, and keep it to yourself; verify with FOLDER/mine.pub.pem
    And the file FOLDER/mine.pem is its owner's alone
    When I run: export SESSION -o FILE --sign-key FOLDER/mine.pem
    Then it ends well
    And it prints a line with: FILE, signed with key KEY, in
    And the file FILE.sig is its owner's alone
    And the file FILE.sig holds the words: "name":"session.archive"
    When I run: import FILE --require-signature FOLDER/mine.pub.pem
    Then it ends well
    And it prints a line with: signed with key KEY
    When I run: import FILE --require-signature FOLDER/mine.pub.pem --json
    Then the value of signature_key_id is the string KEY
    When I run: archive verify FILE --require-signature FOLDER/mine.pub.pem
    Then it prints a line with: format version 1, signature verified by key KEY
    When I run: archive verify FILE
    Then it prints a line with: signed with key KEY (not checked; give --require-signature)
    When I run: archive show FILE
    Then it prints a line with: signed with key KEY (not checked; give --require-signature)
    When I run: export SESSION -o FILE --sign-key FOLDER/mine.pem --json
    Then the JSON tells the signature file FILE.sig and the key
    When I run: archive verify FILE --require-signature FOLDER/mine.pub.pem --json
    Then the JSON has: {"signature": {"state": "verified", "name": "session.archive"}}

  Scenario: One of several keys is enough, and the signature may be elsewhere
    Given a session with the title "Signed"
    And a key and a stranger's key
    When I run: export SESSION -o FOLDER/a.zst --sign-key FOLDER/mine.pem
    And I run: import FOLDER/a.zst --require-signature FOLDER/other.pub.pem --require-signature FOLDER/mine.pub.pem
    Then it ends well
    When the file FOLDER/a.zst.sig is moved to FOLDER/elsewhere.sig
    And I run: import FOLDER/a.zst --require-signature FOLDER/mine.pub.pem
    Then it ends with 1 and says: FOLDER/a.zst: The archive's signature is not accepted: there is none, but one is required.
    When I run: import FOLDER/a.zst --require-signature FOLDER/mine.pub.pem --signature FOLDER/elsewhere.sig
    Then it ends well
    When I run with the file FOLDER/a.zst on standard input: import - --require-signature FOLDER/mine.pub.pem --signature FOLDER/elsewhere.sig
    Then it ends well
    When I run with the file FOLDER/a.zst on standard input: archive verify - --require-signature FOLDER/mine.pub.pem --signature FOLDER/elsewhere.sig
    Then it ends well
    And it prints a line with: standard input: OK, 1 session, 
    When I run with the file FOLDER/a.zst on standard input: archive show -
    Then it prints a line with: unsigned

  Scenario Outline: A signature that is not accepted: <signature>
    Given a session with the title "Signed"
    And a key and a stranger's key
    When I run: export SESSION -o FILE
    And the signature beside it is <signature>
    And I run: archive verify FILE
    Then it ends well
    And it prints a line with: format version 1, <told>
    When I run: archive verify FILE --require-signature FOLDER/mine.pub.pem
    Then it ends with 1 and says: FILE: The archive's signature is not accepted: <problem>
    When I run on a fresh database: import FILE --require-signature FOLDER/mine.pub.pem
    Then it ends with 1 and says: FILE: The archive's signature is not accepted: <problem>
    When I run again there: list --json
    Then the titles listed are none

    Examples:
      | signature          | told                                                     | problem                            |
      | missing            | unsigned                                                 | there is none, but one is required |
      | a stranger's       | signed with key                                          | it is by key                       |
      | another archive's  | beside it the signature of another archive, with key KEY | it is of the archive with          |
      | empty              | beside it what is no signature                           | its file is no signature file      |
      | too long           | beside it what is no signature                           | its file is longer than 4096 bytes |

  Scenario: No more of a key or a signature is read than it may have
    Given a session with the title "Signed"
    And a key and a stranger's key
    When I run: export SESSION -o FILE
    And I run: archive sign FILE --key /dev/zero --special-file
    Then it ends with 1 and says: /dev/zero: key must be one Ed25519 private key
    When I run: archive verify FILE --require-signature /dev/zero --special-file
    Then it ends with 1 and says: /dev/zero: key must be one Ed25519 public key
    When I run: archive verify FILE --require-signature FOLDER/mine.pub.pem --signature /dev/zero --special-file
    Then it ends with 1 and says: its file is longer than 4096 bytes

  Scenario Outline: What is no key is refused before anything is written
    Given a session with the title "Signed"
    And a key and a stranger's key
    And the file holds "precious"
    When I run: <arguments>
    Then it ends with 1 and says: <problem>
    And nothing printed holds a private key
    And the file still holds "precious", and nothing else is in its folder

    Examples:
      | arguments                                                   | problem                                                 |
      | export SESSION -o FILE --sign-key FOLDER/mine.pub.pem       | FOLDER/mine.pub.pem: key must be one Ed25519 private key |
      | export SESSION -o FILE --sign-key FOLDER/missing            | FOLDER/missing: No such file or directory               |
      | import FILE --require-signature FOLDER/mine.pem             | FOLDER/mine.pem: key must be one Ed25519 public key     |
      | import FILE --require-signature FOLDER/missing              | FOLDER/missing: No such file or directory               |
      | archive verify FILE --require-signature FOLDER/mine.pem     | FOLDER/mine.pem: key must be one Ed25519 public key     |
      | archive sign FILE --key FOLDER/mine.pub.pem                 | FOLDER/mine.pub.pem: key must be one Ed25519 private key |
      | archive sign FILE --key FOLDER/mine.pem                     | FILE: The archive is not valid                          |

  Scenario: An archive is signed later, and again
    Given a session with the title "Later"
    And a key and a stranger's key
    When I run: export SESSION -o FILE
    And I run: archive sign FILE --key FOLDER/other.pem
    And I run: archive sign FILE --key FOLDER/mine.pem
    Then it ends well
    And it prints a line with: with key KEY: FILE.sig
    When I run: archive verify FILE --require-signature FOLDER/mine.pub.pem
    Then it ends well
    When I run: append SESSION more
    And I run: export SESSION -o FILE
    Then it ends well and says: FILE.sig is of an older archive; sign this one with: sessionledger archive sign

  Scenario: A signature that cannot be written leaves the old archive
    Given a session with the title "Beside"
    And a key and a stranger's key
    And the file holds "precious"
    And a folder is at FILE.sig
    When I run: export SESSION -o FILE --sign-key FOLDER/mine.pem
    Then it ends with 1 and says: FILE.sig is a folder; name a file
    And the file FILE holds the words: precious
    When I run: export SESSION -o 'FOLDER/a\b' --sign-key FOLDER/mine.pem
    Then it ends with 2 and says: name must not hold a slash, a backslash or a control character

  Scenario Outline: A key is never overwritten: <taken>
    Given a <kind> is at FOLDER/<taken>
    When I run: archive keygen -o FOLDER/mine
    Then it ends with 1 and says: FOLDER/<taken> is there already, and a key is never overwritten; give another name with -o
    And there is nothing at FOLDER/<not taken>

    Examples:
      | taken        | kind                     | not taken    |
      | mine.pem     | file                     | mine.pub.pem |
      | mine.pub.pem | file                     | mine.pem     |
      | mine.pem     | link that leads nowhere  | mine.pub.pem |
      | mine.pub.pem | folder                   | mine.pem     |

  # Showing

  @needs.file
  Scenario: Archives need no database, and no library of one
    Given a session with the title "Alone"
    And a key and a stranger's key
    When I run: export SESSION -o FILE
    And I run as a process without sqlalchemy and alembic: archive sign FILE --key FOLDER/mine.pem
    Then it ends well
    When I run as a process without sqlalchemy and alembic: archive verify FILE --require-signature FOLDER/mine.pub.pem
    Then it ends well
    When I run as a process without cryptography: archive keygen -o FOLDER/new
    Then it ends with 1 and says: cryptography is not installed; run: pip install 'sessionledger[archives]'
    And there is nothing at FOLDER/new.pem
    When I run as a process without cryptography: archive verify FILE
    Then it ends well
    And it prints a line with: signed with key KEY (not checked

  Scenario: An archive is shown without a database
    Given sessions of three kinds
    When I run: export --all -o FILE
    And I run on a database that cannot be reached: archive show FILE
    Then it ends well
    And it prints a line with: 3 sessions, 1 message, 1 usage record
    And it prints a line with: format version 1
    And it prints a line with: written by sessionledger
    And it prints a line with: unsigned
    And it prints a line with: FIRST  First
    And it prints a line with: planner  spring
    And it prints a line with: archived
    When I run on a terminal 80 wide: archive show FILE
    Then no line of the table is longer than 80
    When I run: archive show FOLDER/missing
    Then it ends with 1 and says: FOLDER/missing: No such file or directory

  # Limits

  Scenario Outline: An archive beyond a limit is refused: <limit>
    Given sessions of three kinds
    And a key and a stranger's key
    When I run: export --all -o FILE
    And I run on a fresh database: import FILE --allow <limit>
    Then it ends with 1 and says: FILE: The archive exceeds the limit of <told>. More is allowed with --allow.
    When I run: archive verify FILE --allow <limit>
    Then it ends with 1 and says: FILE: The archive exceeds the limit of <told>. More is allowed with --allow.
    When I run: archive show FILE --allow messages=9 --allow <limit>
    Then it ends with 1 and says: <told>
    When I run: archive sign FILE --key FOLDER/mine.pem --allow <limit>
    Then it ends with 1 and says: <told>
    And nothing is beside the file

    Examples:
      | limit      | told              |
      | sessions=2 | 2 sessions        |
      | size=1000  | 1000 bytes        |
      | line=99    | 99 bytes a line   |

  Scenario: A limit can be raised
    Given a session with the title "Repeated"
    And a message of 2000000 characters in it
    When I run: export SESSION -o FOLDER/a.gz
    And I run: import FOLDER/a.gz
    Then it ends with 1 and says: FOLDER/a.gz: The archive exceeds the limit of 200 decompressed bytes a compressed byte. More is allowed with --allow.
    When I run on a terminal: import FOLDER/a.gz --allow ratio=2000 --allow sessions=1
    Then it ends well
    And standard error has a line with: checking, 2.0 MB

  # Special files

  Scenario: A link is refused as a target and as a source, and followed when asked for
    Given a session with the title "Link"
    And a link at FOLDER/link leads to FILE
    When I run: export SESSION -o FOLDER/link
    Then it ends with 1 and says: FOLDER/link is a symbolic link; name the file itself, or allow it with --special-file
    And there is nothing at FILE
    When I run: export SESSION -o FOLDER/link --special-file
    Then it ends well
    And the file FILE is its owner's alone
    When I run: import FOLDER/link
    Then it ends with 1 and says: FOLDER/link is a symbolic link
    When I run: import FOLDER/link --special-file
    Then it ends well
    When I run: archive verify FOLDER/link
    Then it ends with 1 and says: FOLDER/link is a symbolic link
    When I run: archive verify FOLDER/link --special-file
    Then it ends well
    When I run: import FOLDER/link --format openai-chat
    Then it ends with 1 and says: FOLDER/link is a symbolic link
    When I run: export SESSION --format html -o FOLDER/link
    Then it ends with 1 and says: FOLDER/link is a symbolic link
    When I run: export SESSION --format html -o FOLDER/link --special-file
    Then it ends well

  Scenario: Conversations come from a FIFO when asked for
    When the conversations are written as JSON array
    And I run on a terminal while CONVERSATIONS is written to FOLDER/fifo: import FOLDER/fifo --special-file --format openai-chat --messages-key turns
    Then it ends well and prints: imported 3, already there 0 (15 messages)

  # What was meant

  Scenario Outline: An archive taken for conversations: <file>
    Given a session with the title "Taken"
    When I run: export SESSION -o FOLDER/<file>
    And I run: import FOLDER/<file> --format openai-chat
    Then it ends with 1 and says: FOLDER/<file>: it is an archive; leave out --format openai-chat

    Examples:
      | file      |
      | a.archive |
      | a.gz      |
      | a.zst     |

  Scenario: A gzip file that is damaged is taken for nothing else
    When the file holds the first bytes of gzip alone
    And I run: import FILE --format openai-chat
    Then it ends with 1 and says: FILE: file is damaged: its gzip data cannot be read to the end

  Scenario: An archive that is cut short is taken for an archive
    Given a session with the title "Cut"
    When I run: export SESSION -o FILE
    And the file is cut short
    And I run: import FILE
    Then it ends with 1 and says: it may be cut short
    And standard error does not say: Conversations

  # What goes wrong

  Scenario: An export that fails leaves the old file
    Given the file holds "precious"
    When I run: export 01J00000000000000000000000 -o FILE
    Then it ends with 1 and says: There is no session 01J00000000000000000000000.
    And the file still holds "precious", and nothing else is in its folder

  Scenario: A device is written to and not replaced
    Given a session with the title "Device"
    When I run: export SESSION -o /dev/null --special-file
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
    When I run: archive verify FILE --json
    Then it ends with 1
    And each line is JSON of one file: FILE
    And of these are ok: false
    And standard error is one line

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

  Scenario: Conversations taken for an archive
    When a file of conversations holds: [{"messages":[]}]
    And I run: import CONVERSATIONS
    Then it ends with 1 and says: Conversations need: --format openai-chat
    And nothing was stored

  # Real conversations

  @needs.conversations
  Scenario: Two hundred recorded conversations go in, out and across
    When I run: import RECORDED --format openai-chat --messages-key traj --actor airline
    Then it ends well and prints: imported 200, already there 0 (5,308 messages)
    When I run: import RECORDED --format openai-chat --messages-key traj --actor airline
    Then it ends well and prints: imported 0, already there 200 (0 messages)
    When I run on a terminal: show
    Then it ends well
