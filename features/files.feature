@needs.file @needs.sync
Feature: Files that a person names
  A file is replaced whole or not at all, whatever happens meanwhile. What is no file is refused unless it is asked for,
  and a writer that was killed leaves nothing that the next one does not clear away.

  Background:
    Given a folder for files

  # Writing

  Scenario Outline: A file is <written>
    Given the target is <before>
    When "new" is written to it under the umask <umask>
    Then the target holds "new" and has the mode 600
    And nothing else is in the folder

    Examples:
      | written  | before                        | umask |
      | made     | missing                       | 022   |
      | made     | missing                       | 000   |
      | replaced | a file of "old" with mode 644 | 022   |
      | replaced | a file of "old" with mode 400 | 000   |

  Scenario: Until the end there is the old file
    Given the target is a file of "old" with mode 644
    When "new" is being written to it
    Then the target still holds "old"
    And beside it is one hidden file with the mode 600
    When the writing ends
    Then the target holds "new" and has the mode 600
    And nothing else is in the folder

  Scenario: It is on the disk before it has the name, and then the name is
    When "new" is written to it, and the system's calls are noted
    Then they were in this order: fsync of the file, rename, fsync of the folder

  Scenario Outline: Writing fails because <cause>
    Given the target is <before>
    When writing to it fails because <cause>
    Then the call fails with <error>
    And the target is as it was
    And nothing else is in the folder
    And no descriptor is left open

    Examples:
      | before                        | cause                                   | error                               |
      | a file of "old" with mode 644 | the block raises                        | RuntimeError                        |
      | missing                       | the block raises                        | RuntimeError                        |
      | a file of "old" with mode 644 | it is interrupted                       | KeyboardInterrupt                   |
      | a file of "old" with mode 644 | the file may grow no more half way      | OSError                             |
      | missing                       | the file may grow no more at the end    | OSError naming the target           |
      | a file of "old" with mode 644 | the disk cannot be synced               | OSError naming the target           |
      | a file of "old" with mode 644 | somebody removes its temporary file     | FileNotFoundError naming the target |

  Scenario: A file system that syncs no folders
    When "new" is written to it, and the fsync of a folder gives EINVAL
    Then the target holds "new" and has the mode 600

  Scenario: A folder that cannot be synced is told
    When "new" is written to it, and the fsync of a folder gives EIO
    Then the call fails with OSError naming the target
    And the target holds "new" and has the mode 600
    And nothing else is in the folder

  Scenario Outline: A target in <place> that cannot be written
    When "new" is written to <place>
    Then the call fails with <error> naming that path

    Examples:
      | place                          | error              |
      | a folder that is not there     | FileNotFoundError  |
      | a file as if it were a folder  | NotADirectoryError |
      | a name of 256 bytes            | OSError            |

  Scenario: A folder in which one may not write
    When "new" is written by a user who may not write in the folder
    Then the call fails with PermissionError naming the target
    And nothing is in the folder

  # What is no file

  Scenario Outline: A target that is <kind> is refused
    Given the target is <kind>
    When "new" is written to it
    Then it is refused as <named>, with the advice: <advice>
    And the target is as it was
    And nothing else is in the folder
    And no descriptor is left open

    Examples:
      | kind                      | named           | advice                                                |
      | a link to a file          | a symbolic link | name the file itself, or allow it with --special-file |
      | a link to nothing         | a symbolic link | name the file itself, or allow it with --special-file |
      | a link to itself          | a symbolic link | name the file itself, or allow it with --special-file |
      | a link to a device        | a symbolic link | name the file itself, or allow it with --special-file |
      | a FIFO                    | a FIFO          | name a file, or allow it with --special-file          |
      | a device                  | a device        | name a file, or allow it with --special-file          |
      | a socket                  | a socket        | name a file                                           |
      | a folder                  | a folder        | name a file                                           |

  Scenario Outline: A source that is <kind> is refused, and nobody waits
    Given the target is <kind>
    When it is read
    Then it is refused as <named>, with the advice: <advice>
    And the target is as it was
    And no descriptor is left open

    Examples:
      | kind                      | named           | advice                                                |
      | a link to a file          | a symbolic link | name the file itself, or allow it with --special-file |
      | a link to nothing         | a symbolic link | name the file itself, or allow it with --special-file |
      | a link to itself          | a symbolic link | name the file itself, or allow it with --special-file |
      | a link to a device        | a symbolic link | name the file itself, or allow it with --special-file |
      | a FIFO                    | a FIFO          | name a file, or allow it with --special-file          |
      | a device                  | a device        | name a file, or allow it with --special-file          |
      | a socket                  | a socket        | name a file                                           |
      | a folder                  | a folder        | name a file                                           |

  Scenario Outline: <kind> is no file for those either who allow what is none
    Given the target is <kind>
    When "new" is written to it, whatever it is
    Then it is refused as <named>, with the advice: name a file
    When it is read, whatever it is
    Then it is refused as <named>, with the advice: name a file
    And the target is as it was
    And nothing else is in the folder

    Examples:
      | kind             | named    |
      | a socket         | a socket |
      | a folder         | a folder |
      | a link to a folder | a folder |

  Scenario Outline: <kind> that is meant: the file it leads to is replaced safely
    Given the target is <kind>
    When "new" is written to it, whatever it is
    Then the target is still a link
    And the file it leads to holds "new" and has the mode 600
    And nothing but these two is in the folder
    When it is read, whatever it is
    Then "new" is read

    Examples:
      | kind              |
      | a link to a file  |
      | a link to nothing |

  Scenario: A link to itself that is meant leads nowhere
    Given the target is a link to itself
    When "new" is written to it, whatever it is
    Then the call fails with OSError naming the target
    When it is read, whatever it is
    Then the call fails with OSError naming the target

  Scenario: A FIFO that is meant
    Given the target is a FIFO
    When "new" is written to it, whatever it is, while it is read, whatever it is
    Then "new" is read
    And the target is as it was
    And nothing else is in the folder

  Scenario Outline: <kind> that is meant
    Given the target is <kind>
    When "new" is written to it, whatever it is
    And it is read, whatever it is
    Then "" is read
    And the target is as it was
    And nothing else is in the folder

    Examples:
      | kind               |
      | a device           |
      | a link to a device |

  Scenario: A device that is full
    When "new" is written to /dev/full, whatever it is
    Then the call fails with OSError naming that path

  # What is put in place meanwhile

  Scenario: A link that is put in place while the file is written is replaced itself
    When "new" is being written to it
    And meanwhile the target is a link to a file
    And the writing ends
    Then the target holds "new" and has the mode 600
    And the file that the link led to is as it was

  Scenario: A link that is put in place right after the look is replaced itself
    When "new" is written to it, and a link to a file is put there right after the look
    Then the target holds "new" and has the mode 600
    And the file that the link led to is as it was

  Scenario: A folder that is put in place while the file is written
    When "new" is being written to it
    And meanwhile the target is a folder
    And the writing ends
    Then the call fails with IsADirectoryError naming the target
    And nothing else is in the folder

  Scenario: Another folder is put in place while the file is written
    When "new" is being written to it
    And meanwhile the folder is moved, and a link to another folder put in its place
    And the writing ends
    Then the moved folder holds the target alone, and the other folder holds nothing

  Scenario: A file that is put in the place of a FIFO before it is opened is not torn
    Given the target is a FIFO
    When "new" is written to it, whatever it is, and a file of "old" is put there between the look and the opening
    Then the call fails with OSError naming the target
    And the target still holds "old"

  Scenario Outline: <kind> that is put in place before the source is opened
    Given the target is a file of "old" with mode 644
    When it is read, and <kind> is put there between the look and the opening
    Then it is seen to be <named>
    And no descriptor is left open

    Examples:
      | kind             | named           |
      | a link to a file | a symbolic link |
      | a FIFO           | a FIFO          |
      | a socket         | a socket        |
      | a folder         | a folder        |

  # Reading

  Scenario: A file is read
    Given the target is a file of "old" with mode 644
    When it is read
    Then "old" is read
    And no descriptor is left open

  Scenario Outline: A source that is missing
    When it is read<how>
    Then the call fails with FileNotFoundError naming the target

    Examples:
      | how               |
      |                   |
      | , whatever it is  |

  Scenario: A source that the user may not read
    Given the target is a file of "old" with mode 600
    When it is read by a user who may not
    Then the call fails with PermissionError naming the target

  # What killed writers leave behind

  Scenario: The next writer removes what a killed one has left
    Given the target is a file of "old" with mode 644
    When 3 writers are killed while they write to it
    Then the target still holds "old"
    And 3 leftovers are beside it
    When "new" is written to it
    Then the target holds "new" and has the mode 600
    And nothing else is in the folder

  Scenario: What a killed writer has left is removed beside what a link leads to
    Given the target is a link to a file
    When 1 writer is killed while it writes to it, whatever it is
    Then 1 leftover is in the folder
    When "new" is written to it, whatever it is
    Then nothing but these two is in the folder

  Scenario: What a writer at work has is kept
    When "new" is being written to it
    And "newer" is written to it
    Then the target holds "newer" and has the mode 600
    And beside it is one hidden file with the mode 600
    When the writing ends
    Then the target holds "new" and has the mode 600
    And nothing else is in the folder

  Scenario: What only looks like a leftover is kept
    Given these are in the folder, each made by somebody else
      | name                                  | kind             |
      | .out.archive.part                     | a file           |
      | .out.archive.0123456789abcdeg.part    | a file           |
      | .out.archive.0123456789abcdef0.part   | a file           |
      | .out.archive.0123456789ABCDEF.part    | a file           |
      | out.archive.0123456789abcdef.part     | a file           |
      | .out-archive.0123456789abcdef.part    | a file           |
      | .other.archive.0123456789abcdef.part  | a file           |
      | .out.archive.0123456789abcdef.part    | a link to a file |
      | .out.archive.0123456789abcde0.part    | a FIFO           |
      | .out.archive.0123456789abcde1.part    | a folder         |
    When "new" is written to it
    Then the target holds "new" and has the mode 600
    And these are still as they were

  Scenario Outline: Another writer takes the new file for a leftover before it is locked, and <does>
    When "new" is written to it, and another writer <does> before it is locked
    Then the target holds "new" and has the mode 600
    And nothing else is in the folder
    And no descriptor is left open

    Examples:
      | does                   |
      | removes it             |
      | is about to remove it  |

  Scenario: Somebody takes every file before it is locked
    When "new" is written to it, and somebody takes every file before it is locked
    Then the call fails with OSError naming the target
    And nothing is in the folder
    And no descriptor is left open

  Scenario Outline: Where files cannot be locked, a leftover <goes> after <age>
    Given a leftover to which nobody has written for <age>
    When "new" is written to it where files cannot be locked
    Then the target holds "new" and has the mode 600
    And the leftover is <fate>

    Examples:
      | goes  | age      | fate  |
      | goes  | 25 hours | gone  |
      | stays | 23 hours | there |

  Scenario: A Python as on Windows: without locks, descriptors of folders and flags
    When a Python without them writes "new" to it, beside leftovers of 25 and 23 hours, and reads it
    Then the target holds "new" and has the mode 600
    And one leftover of two is there

  # Names

  Scenario Outline: The name is <name>
    Given the target's name is <name>
    When 1 writer is killed while it writes to it
    And "new" is written to it
    Then the target holds "new" and has the mode 600
    And nothing else is in the folder
    When it is read
    Then "new" is read

    Examples:
      | name                         |
      | two words and " quotes '     |
      | -o                           |
      | --special-file               |
      | *?[a-z]$(x);&\|              |
      | .hidden.part                 |
      | \w+.(?P<x>.)                 |
      | %s {} ~                      |
      | 250 characters               |
      | 83 characters of 3 bytes     |
      | 63 characters of 4 bytes     |
      | a line break                 |
      | bytes that are no UTF-8      |

  # Names inside archives

  Scenario: A thousand hostile names inside archives never reach the file system
    Given 1000 hostile names, most of them of a file outside the folder
    And sessions that hold each of them as content, metadata, tool call and file name, and some as title, key and actor
    When each session is exported to the target and imported again, and the file system is watched
    Then nothing but the target was opened for writing, made, renamed or removed
    And every name came back as it was

  Scenario: A thousand hostile names as ids are refused and never reach the file system
    Given 1000 hostile names, most of them of a file outside the folder
    And an archive of a session
    When an archive with each of them as the session's id is imported, and the file system is watched
    Then each is refused, and nothing was opened, made, renamed or removed

  Scenario: A careless program that writes each session under its title is seen (control)
    Given 1000 hostile names, most of them of a file outside the folder
    When a careless program writes a file for each of them, and the file system is watched
    Then files outside the folder were opened for writing
