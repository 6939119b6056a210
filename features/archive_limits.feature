Feature: An archive is read under limits, strictly, and what is wrong is told without the content
  A small file can become large memory, and JSON can be read in more than one way. So there are limits, each can be set,
  and what is read in two ways is not read. Every error names the line and the rule; none tells what somebody wrote.

  Scenario Outline: A line with <what> is refused
    When an archive is imported whose line 4 has <what>
    Then it is refused with ArchiveFormatError
    And the error names line 4 and the rule: <rule>
    And it tells nothing of the content
    And nothing has changed

    Examples: too much
      | what                              | rule                                                       |
      | 65 levels                         | the line must not be nested deeper than 64 levels          |
      | content of 61 levels              | content must not be nested deeper than 60 levels           |
      | an integer of 41 digits           | the line must not hold a number of more than 40 digits     |
      | an integer of 5,000 digits        | the line must not hold a number of more than 40 digits     |
      | a number of 5,000 decimal places  | the line must not hold a number of more than 40 digits     |
      | an exponent of 5,000 digits       | the line must not hold a number of more than 40 digits     |
      | two million empty objects         | the line must not hold more than 250000 values             |
      | two million nulls                 | the line must not hold more than 250000 values             |
      | content of 200,001 values         | content must not hold more than 200000 values              |
      | content of 7 MiB and one byte     | content must be at most 7340032 bytes of JSON              |
      | metadata of 64 KiB and one byte   | metadata must be at most 65536 bytes of JSON               |

    Examples: what is read in two ways
      | what                              | rule                                                       |
      | a key twice                       | the line must not have the same key twice in one object    |
      | a key twice, once with an escape  | the line must not have the same key twice in one object    |
      | a field twice                     | the line must not have the same key twice in one object    |
      | NaN                               | the line must not hold NaN or an infinity                  |
      | Infinity                          | the line must not hold NaN or an infinity                  |
      | -Infinity                         | the line must not hold NaN or an infinity                  |
      | 1e400                             | the line must not hold a number beyond what a double can be |
      | -1e400                            | the line must not hold a number beyond what a double can be |
      | a byte that is no UTF-8           | the line must be UTF-8                                     |
      | an overlong NUL                   | the line must be UTF-8                                     |
      | an encoded surrogate              | the line must be UTF-8                                     |
      | an encoded pair of surrogates     | the line must be UTF-8                                     |
      | a byte order mark before it       | the line must be one valid JSON value                      |
      | a NUL in a string                 | the line must be one valid JSON value                      |
      | a NUL between tokens              | the line must be one valid JSON value                      |
      | a tab in a string                 | the line must be one valid JSON value                      |
      | a line feed in a string           | the line must be one valid JSON value                      |
      | a form feed between tokens        | the line must be one valid JSON value                      |
      | a no-break space between tokens   | the line must be one valid JSON value                      |
      | half an escape                    | the line must be one valid JSON value                      |
      | a leading zero                    | the line must be one valid JSON value                      |
      | a leading plus                    | the line must be one valid JSON value                      |
      | a number without its fraction     | the line must be one valid JSON value                      |
      | digits of another script          | the line must be one valid JSON value                      |
      | single quotes                     | the line must be one valid JSON value                      |
      | a comment                         | the line must be one valid JSON value                      |
      | a comma too many                  | the line must be one valid JSON value                      |
      | two values                        | the line must be one valid JSON value                      |
      | nothing in it                     | the line must be one valid JSON value                      |
      | a list around it                  | the line must be one JSON object                           |
      | no line feed at its end           | the line must be one valid JSON value                      |

  Scenario: A line of 10,000 levels is refused
    When an archive is imported whose line 4 has 10,000 levels
    Then it is refused with ArchiveFormatError
    And the error names line 4 and that it is nested too deeply
    And it tells nothing of the content

  Scenario Outline: A file with <what> is refused
    When a file is imported with <what>
    Then it is refused with <error>
    And the error says: <said>
    And it tells nothing of the content
    And nothing has changed

    Examples:
      | what                                   | error                | said                                         |
      | a byte order mark                      | ArchiveFormatError   | must be one valid JSON value (line 1)        |
      | a carriage return before each line feed | ArchiveFormatError  | its last line is not a SHA-256 footer        |
      | line feeds alone as carriage returns   | ArchiveFormatError   | its last line is not a SHA-256 footer        |
      | no last line feed                      | ArchiveFormatError   | its last line is not a SHA-256 footer        |
      | a second line feed at its end          | ArchiveFormatError   | its last line is not a SHA-256 footer        |
      | a digest in capitals                   | ArchiveFormatError   | its last line is not a SHA-256 footer        |
      | a space in its last line               | ArchiveFormatError   | its last line is not a SHA-256 footer        |
      | nothing but a last line                | ArchiveFormatError   | a field is missing or of the wrong type (line 1) |
      | UTF-16                                 | ArchiveFormatError   | its last line is not a SHA-256 footer        |
      | itself twice                           | ArchiveChecksumError | it was changed or damaged                    |
      | an empty archive behind it             | ArchiveChecksumError | it was changed or damaged                    |

  Scenario Outline: A line with <what> is accepted, and comes out in the canonical form
    When an archive is imported whose line 4 has <what>
    Then it is stored
    And exported again its last message has the content <content>

    Examples:
      | what                            | content                          |
      | lone surrogates as escapes      | ["\ud800","x\udfffy","\udc00\ud800"] |
      | a pair of surrogates as escapes | "📦"                             |
      | a NUL as an escape              | "a\u0000b"                       |
      | a zero width no-break space     | "﻿x"                             |
      | keys in another order           | {"a":1,"b":2}                    |
      | spaces and a carriage return    | {"a":[1,2]}                      |
      | escapes that it does not need   | "Zoë/"                           |
      | an integer of 40 digits         | 9999999999999999999999999999999999999999 |
      | a numeral that rounds           | [0.1,1.0,1e+16,0.0]              |
      | 60 levels                       | [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]] |

  # Each limit, at its edge

  Scenario Outline: The limit on <limit> can be set
    Given an archive whose <limit> is known
    When it is imported with this limit set to it
    Then it is stored
    When it is imported with this limit set to one less
    Then it is refused with <error>
    And the error says: <said>
    And it tells nothing of the content
    And nothing has changed

    Examples:
      | limit           | error              | said                                          |
      | size            | ArchiveLimitError  | bytes                                         |
      | compressed_size | ArchiveLimitError  | compressed bytes                              |
      | window          | ArchiveLimitError  | bytes of a zstd window                        |
      | line            | ArchiveLimitError  | bytes a line                                  |
      | depth           | ArchiveFormatError | the line must not be nested deeper than       |
      | digits          | ArchiveFormatError | the line must not hold a number of more than  |
      | values          | ArchiveFormatError | the line must not hold more than              |
      | messages        | ArchiveLimitError  | messages                                      |
      | sessions        | ArchiveLimitError  | sessions                                      |

  Scenario: The limit on the ratio can be set
    Given an archive of 3 MiB that compresses to a few kilobytes
    When it is imported
    Then it is refused with ArchiveLimitError
    And the error tells 200 decompressed bytes a compressed byte
    When it is imported with a ratio of 100000
    Then it is stored

  Scenario Outline: A limit of <value> <limit> is none
    When an archive is imported under a limit of <value> on <limit>
    Then the input is refused, naming <limit>

    Examples:
      | limit  | value |
      | size   | 0     |
      | ratio  | -1    |
      | depth  | 1.5   |
      | digits | true  |
      | values | null  |

  Scenario Outline: What no ledger can hold stays out, however high the limit on <limit> is set
    When an archive is imported whose line 4 has <what>, with a limit of <value> on <limit>
    Then it is refused with ArchiveFormatError
    And the error names line 4
    And it tells nothing of the content

    Examples:
      | what                       | limit  | value   |
      | an integer of 41 digits    | digits | 5000    |
      | an integer of 5,000 digits | digits | 5000    |
      | 70 levels                  | depth  | 5000    |
      | 700 levels                 | depth  | 5000    |
      | 800 levels                 | depth  | 5000    |
      | 900 levels                 | depth  | 5000    |
      | 10,000 levels              | depth  | 50000   |
      | content of 200,001 values  | values | 9000000 |

  # Bombs

  Scenario Outline: <bomb> is refused before it is large
    When this is imported: <bomb>
    Then it is refused with <error>
    And the error says: <said>
    And nothing has changed

    Examples:
      | bomb                                     | error              | said                                                    |
      | a zstd bomb of 32,000:1                  | ArchiveLimitError  | limit of 200 decompressed bytes a compressed byte       |
      | a gzip bomb of 1,000:1                   | ArchiveLimitError  | limit of 200 decompressed bytes a compressed byte       |
      | a gzip bomb within gzip                  | ArchiveFormatError | its last line is not a SHA-256 footer                   |
      | a zstd frame with a window of 16 MiB     | ArchiveLimitError  | limit of 8388608 bytes of a zstd window                 |
      | a zstd frame with a window of 2 GiB      | ArchiveLimitError  | limit of 8388608 bytes of a zstd window                 |
      | a zstd frame of a single segment of 1 TiB | ArchiveLimitError | limit of 8388608 bytes of a zstd window                 |
      | 65 MiB that are gzip                     | ArchiveLimitError  | limit of 67108864 compressed bytes                      |
      | 513 MiB of short lines                   | ArchiveLimitError  | limit of 536870912 bytes                                |
      | an archive with two gzip members         | ArchiveFormatError | something comes after its gzip stream                   |
      | an archive with two zstd frames          | ArchiveFormatError | something comes after its zstd stream                   |
      | an archive with a zstd frame to skip     | ArchiveFormatError | something comes after its zstd stream                   |
      | half a gzip stream                       | ArchiveFormatError | its gzip stream is cut short                            |
      | half a zstd stream                       | ArchiveFormatError | its zstd stream is cut short                            |
      | a gzip stream with a wrong checksum      | ArchiveFormatError | its gzip stream is damaged                              |
      | a zstd stream with a wrong checksum      | ArchiveFormatError | its zstd stream is damaged                              |

  Scenario: A line of 1 GB is refused when 8 MiB of it have been read
    When an archive is imported whose line 2 has 1 GB
    Then it is refused with ArchiveLimitError
    And the error says: limit of 8388608 bytes a line
    And no more than 9 MiB of it have been read
