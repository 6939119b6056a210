@needs.file @needs.async
Feature: Callers that await a file of SQLite's
  Their calls run in threads of the library's: one that writes, and some that read. What is promised to callers that await
  holds there too, and no thread outlives what it is for.

  Scenario: A cancel of a call that no thread has begun
    Given a session on a database with one warm connection
    When an append is cancelled while the one before it is at its COMMIT
    Then the cancel comes out while that COMMIT still waits
    And only the one before it is stored

  Scenario: A cancel of a statement that would run for ever
    Given a session on a database with one warm connection
    When a write that would run for ever is cancelled
    Then the cancel comes out at once
    And a writer on another connection gets in
    And every call has used the one connection

  Scenario: A cancel in the middle of an import
    Given a session on a database with one warm connection
    And 3 sessions of 200 messages each to import
    When an import is cancelled at each of its statements
    Then each cancel comes out and nothing is stored
    And a writer on another connection gets in

  Scenario: A cancel that a closed event loop sends
    Given a session on a database with one warm connection
    When an event loop ends in the middle of an append
    Then nothing is stored, or the message once
    And the message is stored once, also when it is sent again on another event loop

  Scenario: One database, two event loops
    Given a session on a database with one warm connection
    When one event loop after the other appends 2 messages
    Then all 4 messages are there

  Scenario: A database that is used again after it was closed
    Given a session on a database with one warm connection
    When it is closed and a message appended
    Then the message is stored once, also when it is sent again

  Scenario: A database whose process has forked
    Given a session on a database with one warm connection
    When each of 2 forks appends 2 messages with it, and so does the process itself
    Then all 6 messages are there

  Scenario: Threads end with their database
    When 3 databases are used, and 1 of them is closed and 1 forgotten
    Then the threads of 1 database are left

  Scenario: Python ends with a database open
    Given a session on a database with one warm connection
    When Python ends while an AsyncDatabase is open
    Then it ends well in one line

  Scenario: A file with a pool that only callers that await can have
    When a file is opened with a pool for callers that await, and a message appended
    Then it is the first of its session
