Feature: A message's line is read by a short way and a long way, and both say the same
  An export writes a message's line in one form, and a line of that form is read without a tree of its JSON. The same
  line with a space behind its first brace is read the long way. What one accepts or refuses, the other does.

  Scenario: Whatever is written
    Given 2,000 messages of random content, metadata and other fields
    When they are imported as an export writes them, and with a space in every line
    Then both imports stored the same messages, all of them

  Scenario: Whatever is broken
    Given 2,000 messages of random content, of each a line that is changed in one place
    When each is read as it is, and with a space
    Then both are refused with the same error, or both read as the same records
    And more than 500 were refused and more than 50 were read

  Scenario: The control: a reader that takes the short way for canonical by its hash alone
    Given 2,000 messages of random content, of each a line that is changed in one place
    When each is read as it is, and with a space, by a careless reader
    Then both are not always refused with the same error

  Scenario: Ids are written as the ULID library writes them
    Then 20,000 derived ids of random keys are the first 128 bits of their SHA-256, as the library writes them
    And 20,000 new ids are of now, as the library reads them, and no two have the same random bits
