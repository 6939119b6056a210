Feature: Sessions persist
  Sessions, their messages and their token usage, as the contract of SessionService tells it.

  Rule: Creation

    Scenario: A new session is empty
      When a session is created
      Then its id is a ULID
      And it has no key, title, actor_name, workspace or archived_at
      And its metadata is {}
      And its last_sequence is 0
      And its version is 1
      And its namespace is "default"
      And its token usage is 0 input_tokens and 0 output_tokens
      And it was created and last updated just now, at one time in UTC
      And getting it gives the same session

    Scenario: A session keeps what it was made with
      When a session is created with
        | field      | value                                                      |
        | actor_name | support-bot                                                |
        | title      | Where is my parcel? ¿Dónde está? 包裹在哪里? 📦            |
        | metadata   | {"channel": "mail", "urgent": true, "tries": [1, 2.5, {}]} |
        | workspace  | north-office                                               |
      Then it has these values
      And getting it gives the same session

    Scenario: A session takes the caller's own id
      When a session is created with
        | field      | value                      |
        | session_id | 01HZX3V9QK2M4N5P6R7S8T9VWX |
      Then its session_id is "01HZX3V9QK2M4N5P6R7S8T9VWX"
      And getting it gives the same session

    Scenario: An id that is taken is refused
      Given a session with 2 messages
      When a session is created with the same id
      Then it is refused with SessionExistsError telling session_id
      And nothing has changed

    Scenario: A session is found by its key
      When a session is created with
        | field | value         |
        | key   | ticket/4711 ü |
      Then its id is the one derived from its key
      And finding the key "ticket/4711 ü" gives the same session
      And finding the key "ticket/4712" gives nothing

    Scenario: A key that is taken is refused
      Given a session with the key "ticket/4711"
      When a session is created with
        | field | value       |
        | key   | ticket/4711 |
      Then it is refused with SessionExistsError telling session_id
      And nothing has changed

    Scenario: Getting or creating makes a session once
      When a session is got or created by the key "ticket/4711" with the title "First"
      And a session is got or created by the key "ticket/4711" with the title "Second"
      Then both are the same session
      And its title is "First"
      And there is 1 session

    Scenario: Any number of callers may get or create a session at once
      When 8 callers get or create a session by the key "ticket/4711" at once
      Then all of them get the same session
      And there is 1 session

    Scenario: A session that does not exist
      When a session that does not exist is got
      Then it is refused with SessionNotFoundError telling session_id

    Scenario: A session of another namespace answers like one that does not exist
      Given a session with 3 messages in the namespace "acme"
      Then no call of the namespace "globex" tells it from a session that does not exist
      And a session of the namespace "globex" may have the same key
      And the namespace "globex" cannot create a session with its id without being told only that the id is taken

    Scenario: Updating changes what is given and leaves the rest
      Given a session with a title, an actor, metadata and a workspace
      When it is updated with
        | field | value         |
        | title | Parcel, found |
      Then its title is "Parcel, found"
      And everything else but its version and the time of its last update is as before
      And its version is 2
      And getting it gives the same session

    Scenario Outline: Updating with None empties a field
      Given a session with a title, an actor, metadata and a workspace
      When it is updated with None as its <field>
      Then nothing is left of its <field>
      And getting it gives the same session

      Examples:
        | field      |
        | title      |
        | actor_name |
        | metadata   |

    Scenario: Updating metadata replaces it whole
      Given a session with a title, an actor, metadata and a workspace
      When it is updated with
        | field    | value         |
        | metadata | {"new": true} |
      Then its metadata is {"new": true}
      And getting it gives the same session

    Scenario: An update of a version that is gone changes nothing
      Given a session with a title, an actor, metadata and a workspace
      And it has been updated since
      When it is updated expecting version 1
      Then it is refused with VersionConflictError telling session_id, expected 1 and found 2
      And nothing has changed

    Scenario: An update of the expected version
      Given a session with a title, an actor, metadata and a workspace
      When it is updated expecting version 1
      Then its version is 2

    Scenario: Updating a session that does not exist
      When a session that does not exist is updated
      Then it is refused with SessionNotFoundError telling session_id

  Rule: Listing

    Background:
      Given these sessions, made one after the other
        | title | actor_name | workspace | archived |
        | one   | ann        | north     |          |
        | two   | ben        | north     |          |
        | three | ann        | south     |          |
        | four  | ann        |           | yes      |
        | five  |            | north     |          |

    Scenario: The newest first
      When sessions are listed
      Then the titles are five, three, two, one

    Scenario: The oldest first
      When sessions are listed with order "oldest"
      Then the titles are one, two, three, five

    Scenario: The last changed first
      When a message is appended to "two"
      And "one" is updated
      And sessions are listed with order "updated"
      Then the titles are one, two, five, three

    Scenario: Of one actor
      When sessions are listed with actor_name "ann"
      Then the titles are three, one

    Scenario: Of one workspace
      When sessions are listed with workspace "north"
      Then the titles are five, two, one

    Scenario: Of an actor and a workspace
      When sessions are listed with actor_name "ann" and workspace "north"
      Then the titles are one

    Scenario: Of an actor or a workspace that nobody knows
      When sessions are listed with actor_name "zoe"
      Then there are no titles
      When sessions are listed with workspace "west"
      Then there are no titles

    Scenario: Archived sessions are hidden unless asked for
      When archived sessions are listed as well
      Then the titles are five, four, three, two, one

    Scenario: An archived session is hidden and otherwise whole
      When "two" is archived
      And sessions are listed
      Then the titles are five, three, one
      And "two" can be got, appended to and exported
      When "two" is taken out of the archive
      And sessions are listed
      Then the titles are five, three, two, one

    Scenario: A listed session is the session that get gives
      When sessions are listed
      Then each listed session equals the one that get gives

    Scenario: A namespace lists only its own sessions
      When sessions are listed in the namespace "globex"
      Then there are no titles

  Rule: Deletion

    Scenario: A session goes with its messages
      Given a session with 3 messages
      And another session with 2 messages
      When the first session is deleted
      Then no row of it is left but its ledger of token usage
      And the other session still has 2 messages

    Scenario: What a deleted session cost stays in the ledger of token usage
      Given a session with 3 messages
      And it has used 120 input tokens and 30 output tokens
      When it is deleted
      Then the ledger of token usage still holds 120 input tokens and 30 output tokens of it

    Scenario: A deleted session is gone
      Given a session with 3 messages
      When it is deleted
      Then getting, updating, appending to, reading, exporting and deleting it are refused with SessionNotFoundError

    Scenario: A session that does not exist cannot be deleted
      When a session that does not exist is deleted
      Then it is refused with SessionNotFoundError telling session_id

    Scenario: The key of a deleted session is free again
      Given a session with the key "ticket/4711"
      And it has 3 messages
      When it is deleted
      And a session is got or created by the key "ticket/4711" with the title "Again"
      Then its title is "Again"
      And it has 0 messages

  Rule: Message append

    Scenario: Messages get the sequence 1, 2, 3
      Given a session
      When the messages "Hello", "Where is my parcel?" and "On its way." are appended one by one
      Then their sequences are 1, 2, 3
      And reading the session gives the same messages
      And its last_sequence is 3

    Scenario: A message keeps what it was appended with
      Given a session
      When a message is appended with
        | field        | value                                                  |
        | role         | tool                                                   |
        | content      | [{"type": "text", "text": "3 parcels"}, {"type": "x"}] |
        | tool_call_id | call_7                                                 |
        | metadata     | {"took": 0.25}                                         |
        | message_id   | 01HZX3V9QK2M4N5P6R7S8T9VWX                             |
      Then the message has these values
      And its format is "parts"
      And its content_sha256 is the SHA-256 of its canonical content
      And it was created just now, in UTC
      And reading the session gives the same messages

    Scenario Outline: The role <role>
      Given a session
      When a message is appended with the role "<role>"
      Then reading the session gives the same messages

      Examples:
        | role      |
        | system    |
        | developer |
        | user      |
        | assistant |
        | tool      |

    Scenario: A framework's own role and item, in the framework's own format
      Given a session
      When a message is appended with
        | field   | value                                   |
        | role    | planner                                 |
        | content | {"kind": "plan", "steps": [1, [2], {}]} |
        | format  | acme.plan-2                             |
      Then the message has these values
      And reading the session gives the same messages

    Scenario: Appending moves the time of the last update and leaves the version
      Given a session
      When a message is appended with the role "user"
      Then the session was last updated when the message was created, or later
      And its version is 1

    Scenario: A batch is stored whole and in order
      Given a session with 2 messages
      When a batch of 100 messages is appended
      Then their sequences are 3 to 102
      And reading the session gives 102 messages, the last 100 of them the batch

    Scenario: A batch with a wrong message stores nothing
      Given a session with 2 messages
      When a batch of 3 messages is appended, the last of them with the role ""
      Then the input is refused, naming role
      And nothing has changed

    Scenario: A message of several megabytes
      Given a session
      When a message of 3000000 characters is appended
      Then reading the session gives the same messages

    Scenario: Appending where the caller has seen everything
      Given a session with 2 messages
      When a message is appended expecting sequence 2
      Then its sequence is 3

    Scenario Outline: Appending where somebody else was first
      Given a session with 2 messages
      When a message is appended expecting sequence <seen>
      Then it is refused with SequenceConflictError telling session_id, expected <seen> and found 2
      And nothing has changed

      Examples:
        | seen |
        | 0    |
        | 1    |
        | 3    |

    Scenario: Appending to a session that does not exist
      When a message is appended to a session that does not exist
      Then it is refused with SessionNotFoundError telling session_id
      And nothing has changed

  Rule: Pagination

    Scenario Outline: Pages by cursor show every session once, <order> first
      Given 23 sessions, some of them of the same instant
      When all pages of <limit> are listed by cursor with order "<order>"
      Then they hold <pages> pages and every session once, in order

      Examples:
        | order   | limit | pages |
        | newest  | 1     | 23    |
        | newest  | 10    | 3     |
        | newest  | 23    | 1     |
        | oldest  | 7     | 4     |
        | oldest  | 1000  | 1     |
        | updated | 10    | 3     |

    Scenario: Pages by cursor of one actor
      Given these sessions, made one after the other
        | title | actor_name |
        | one   | ann        |
        | two   | ben        |
        | three | ann        |
        | four  | ann        |
      When all pages of 2 of the actor "ann" are listed by cursor
      Then the titles are four, three, one

    Scenario: Sessions made meanwhile do not disturb the pages by cursor
      Given 6 sessions
      When the first page of 3 is listed
      And 2 more sessions are made
      And the next page is listed
      Then the two pages hold the first 6 sessions, each once

    Scenario: Pages by offset
      Given 7 sessions
      When sessions are listed with limit 3 and offset 5
      Then the sessions are the last 2 of the listing
      When sessions are listed with limit 3 and offset 7
      Then there are no sessions in the listing

    Scenario Outline: A window of messages
      Given a session with 10 messages
      When its messages are read with <window>
      Then their sequences are <sequences>

      Examples:
        | window                       | sequences |
        | nothing                      | 1 to 10   |
        | after 7                      | 8 to 10   |
        | after 10                     | none      |
        | before 4                     | 1 to 3    |
        | before 1                     | none      |
        | limit 3                      | 1 to 3    |
        | after 2 and limit 3          | 3 to 5    |
        | after 2 and before 6         | 3 to 5    |
        | after 5 and before 3         | none      |
        | last 3                       | 8 to 10   |
        | last 100                     | 1 to 10   |
        | last 3 and before 8          | 5 to 7    |
        | after 2, before 9 and limit 2 | 3 to 4   |

    Scenario: Reading a session that does not exist
      When the messages of a session that does not exist are read
      Then it is refused with SessionNotFoundError telling session_id

  Rule: Export and import

    Scenario: A session comes back from its archive
      Given a session with everything
      When it is exported
      And the archive is imported into an empty ledger
      Then the imported session equals the exported one but for its ids, its key, its namespace and its version
      And the imported messages equal the exported ones but for their ids

    Scenario: The receipt says what the archive is
      Given a session with everything
      When it is exported
      Then the receipt tells the archive's SHA-256, size, format version 1 and counts
      And the last line of the archive is the SHA-256 of every byte before it

    Scenario: Exporting twice gives the same bytes
      Given a session with everything
      When it is exported
      And it is exported again
      Then both archives are equal byte for byte

    Scenario: Importing the same archive again changes nothing
      Given a session with everything
      When it is exported
      And the archive is imported
      And the archive is imported again
      Then both are the same session
      And there are 2 sessions

    Scenario: Importing as a copy makes one more session
      Given a session with everything
      When it is exported
      And the archive is imported as a copy
      And the archive is imported as a copy again
      Then both are different sessions
      And there are 3 sessions

    Scenario: An import begins where the file stands and leaves it open
      Given a session with everything
      When it is exported behind 10 other bytes
      And the archive is imported from the file as it stands
      Then the imported messages equal the exported ones but for their ids
      And the file is still open

    Scenario: Imported token usage is history
      Given a session with everything
      When it is exported
      And the archive is imported into an empty ledger
      Then its token usage is that of the exported session
      And the ledger of token usage has marked every imported record

    Scenario Outline: An archive with <damage> is refused
      Given a session with everything
      When it is exported
      And its archive is imported with <damage>
      Then it is refused with <error>
      And nothing has changed

      Examples:
        | damage                   | error                |
        | one byte changed         | ArchiveChecksumError |
        | its first byte changed   | ArchiveError         |
        | its last byte missing    | ArchiveFormatError   |
        | its last line missing    | ArchiveFormatError   |
        | a byte too many          | ArchiveFormatError   |
        | two messages exchanged   | ArchiveChecksumError |
        | one message missing      | ArchiveChecksumError |
        | nothing in it            | ArchiveFormatError   |
        | a newer format version   | ArchiveVersionError  |
        | an unknown record        | ArchiveFormatError   |
        | a message too many       | ArchiveFormatError   |
        | a gap in its sequences   | ArchiveFormatError   |
        | a wrong content hash     | ArchiveFormatError   |
        | a line that is no JSON   | ArchiveFormatError   |
        | a number of 41 digits    | ArchiveError         |
        | a line nested 100 deep   | ArchiveError         |

    Scenario: Exporting a session that does not exist
      When a session that does not exist is exported
      Then it is refused with SessionNotFoundError telling session_id

  Rule: Token usage

    Scenario: Token usage is added up
      Given a session
      When 100 input tokens and 20 output tokens are added
      And 11 input tokens and 2 output tokens are added
      Then the totals are 111 input tokens and 22 output tokens
      And getting the session gives the same totals

    Scenario: The parts of token usage are added up
      Given a session
      When token usage is added with
        | field               | value |
        | input_tokens        | 100   |
        | output_tokens       | 20    |
        | cached_input_tokens | 60    |
        | cache_write_tokens  | 7     |
        | reasoning_tokens    | 5     |
        | cost                | 0.1   |
        | model               | large |
      And token usage is added with
        | field               | value |
        | cached_input_tokens | 6     |
        | cache_write_tokens  | 3     |
        | reasoning_tokens    | 4     |
        | cost                | 0.2   |
      Then the totals are
        | field               | value |
        | input_tokens        | 100   |
        | output_tokens       | 20    |
        | cached_input_tokens | 66    |
        | cache_write_tokens  | 10    |
        | reasoning_tokens    | 9     |
        | cost                | 0.3   |
      And getting the session gives the same totals

    Scenario: A message brings its token usage along
      Given a session
      When a message is appended that used 12 input tokens and 4 output tokens of the model "small"
      And a batch of 3 messages is appended, each of which used 10 input tokens and 1 output token
      Then getting the session gives 42 input tokens and 7 output tokens
      And the ledger of token usage adds up to the same

    Scenario: A refused append adds no token usage
      Given a session with 2 messages
      When a message with token usage is appended expecting sequence 1
      Then it is refused with SequenceConflictError telling session_id, expected 1 and found 2
      And nothing has changed

    Scenario: Token usage of a session that does not exist
      When token usage is added to a session that does not exist
      Then it is refused with SessionNotFoundError telling session_id
      And nothing has changed

    Scenario: What was not reported stays unknown
      Given a session
      When a message is appended that used 12 input tokens and 4 output tokens of the model "small"
      Then the ledger of token usage holds no cached_input_tokens, cache_write_tokens, reasoning_tokens or cost

  Rule: ORM round trip

    Scenario: A session of the service, read through the model
      Given a session with everything
      When it is read through SessionModel and SessionMessageModel
      Then the models hold what the service gives

    Scenario: A session written through the models, read by the service
      When a session with 2 messages is written through SessionModel and SessionMessageModel
      Then the service gives what the models held

    Scenario: Deleting through the model takes the messages along
      Given a session with 3 messages
      When its SessionModel is deleted
      Then getting, updating, appending to, reading, exporting and deleting it are refused with SessionNotFoundError
      And no row of it is left but its ledger of token usage

    Scenario: The database itself refuses a second message with the same sequence
      Given a session with 2 messages
      When a SessionMessageModel with sequence 2 is written
      Then the database refuses it as a violation of integrity
      And nothing has changed
