@needs.conversations
Feature: Real conversations
  Two hundred recorded conversations of a tool-calling assistant go in, are read, counted, exported with a checksum,
  imported into the other kind of database, and come out equal.

  Scenario: From the source through one database and its archives into the other
    Given the recorded conversations: 200 with 5308 messages
    When each is stored as a session of its own
    Then 200 sessions and 5308 messages are stored
    And every session has the sequences 1 to n
    And every message says what its source says
    And the messages are 200 of system, 1490 of user, 2454 of assistant and 1164 of tool
    When each session is exported
    And each archive is imported into a database of the other kind
    Then every hash is equal in the source, in the database, in the archive and in the other database
    And every imported message equals its source

  Scenario: Sent again, nothing is stored again
    Given the recorded conversations: 200 with 5308 messages
    When the first 20 are stored as sessions, twice, with ids derived from their place
    Then 20 sessions are stored and both times gave the same messages
