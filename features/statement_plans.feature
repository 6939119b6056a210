@needs.sync
Feature: What every statement reads
  Every statement that a service sends is explained by the database itself, on a ledger with 20,000 sessions and 20,000
  messages: on PostgreSQL for its values and for any values, on SQLite with statistics and without. Rows of the tables
  that grow are found by an index; messages are never all read, and no session is sorted for a page of it. What is no
  page, and reads much by what it is for, says so here.

  Background:
    Given a ledger in use

  Scenario Outline: To write, <call>
    When <call> is called
    Then rows are found by <indexes>, and nothing else is read or sorted

    Examples: sessions
      | call                          | indexes                                                                                                        |
      | create                        | nothing                                                                                                        |
      | create in a workspace         | resources by namespace, kind, name                                                                             |
      | create with a key             | token_usage by session_id, usage_id                                                                            |
      | get_or_create                 | sessions by session_id; resources by resource_id                                                               |
      | get_or_create of a new key    | sessions by session_id; resources by resource_id; token_usage by session_id, usage_id                          |
      | update                        | sessions by session_id; resources by resource_id                                                               |
      | update of a version           | sessions by session_id; resources by resource_id                                                               |
      | delete                        | sessions by session_id; session_messages by session_id, sequence or session_messages by session_id, message_id |

    Examples: messages
      | call                              | indexes                                                                                                                                      |
      | append_message                    | sessions by session_id                                                                                                                       |
      | append_message with usage         | sessions by session_id                                                                                                                       |
      | append_message behind a sequence  | sessions by session_id                                                                                                                       |
      | append_message again              | sessions by session_id; resources by resource_id; session_messages by session_id, message_id or session_messages by session_id, sequence     |
      | append_message behind a wrong one | sessions by session_id; resources by resource_id; session_messages by session_id, message_id or session_messages by session_id, sequence     |
      | append_message to nobody          | sessions by session_id                                                                                                                       |
      | append_messages                   | sessions by session_id                                                                                                                       |
      | append_messages with usage        | sessions by session_id                                                                                                                       |
      | append_messages again             | sessions by session_id; resources by resource_id; session_messages by session_id, message_id or session_messages by session_id, sequence     |

    Examples: token usage
      | call                     | indexes                                                                              |
      | update_token_usage       | sessions by session_id                                                               |
      | update_token_usage again | sessions by session_id; resources by resource_id; token_usage by session_id, usage_id |

    Examples: archives
      | call                     | indexes                                                                                                                     |
      | import_session           | sessions by session_id; resources by namespace, kind, name; resources by resource_id; token_usage by session_id, usage_id   |
      | import_session again     | sessions by session_id; resources by resource_id                                                                            |
      | import_session as a copy | sessions by session_id; resources by namespace, kind, name; resources by resource_id; token_usage by session_id, usage_id   |
      | import_sessions          | sessions by session_id; resources by namespace, kind, name; token_usage by session_id, usage_id                             |

  Scenario Outline: To read, <call>
    When <call> is called
    Then rows are found by <indexes>, and nothing else is read or sorted

    Examples: a session
      | call | indexes                                          |
      | get  | sessions by session_id; resources by resource_id |
      | find | sessions by session_id; resources by resource_id |

    Examples: its messages
      | call                                | indexes                                                                                         |
      | get_messages of the last 50         | sessions by session_id; session_messages by session_id, sequence                                |
      | get_messages of the last 50 before  | sessions by session_id; session_messages by session_id, sequence                                |
      | get_messages of a page              | sessions by session_id; session_messages by session_id, sequence                                |
      | get_messages of a page of nothing   | sessions by session_id; session_messages by session_id, sequence; resources by resource_id      |

  Scenario Outline: A page of sessions, <order> first
    When the pages of sessions, <order> first, are listed <how>
    Then rows are found by <index>; resources by resource_id, and nothing else is read or sorted

    Examples: of a namespace
      | order  | how                        | index                                       |
      | newest | with no filter             | sessions by namespace, created_at, session_id |
      | oldest | with no filter             | sessions by namespace, created_at, session_id |
      | newest | with archived ones         | sessions by namespace, created_at, session_id |
      | oldest | with archived ones         | sessions by namespace, created_at, session_id |
      | newest | by offset                  | sessions by namespace, created_at, session_id |

    Examples: of an actor
      | order  | how                        | index                                                   |
      | newest | by actor                   | sessions by namespace, actor_name, created_at, session_id |
      | oldest | by actor                   | sessions by namespace, actor_name, created_at, session_id |

    Examples: of a workspace
      | order  | how                        | index                                                                                     |
      | newest | by workspace               | sessions by namespace, workspace, created_at, session_id; resources by namespace, kind, name |
      | oldest | by workspace               | sessions by namespace, workspace, created_at, session_id; resources by namespace, kind, name |

  Scenario Outline: Sessions by the time of their last change <how> are sorted, because an index would cost each append
    When the pages of sessions, updated first, are listed <how>
    Then only sessions, and resources are sorted, and no messages are read

    Examples:
      | how            |
      | with no filter |
      | by actor       |
      | by workspace   |

  Scenario Outline: More than a page, <call>
    When <call> is called
    Then messages are found by session_id, sequence, and <much> may be read whole or sorted

    Examples: one session, all of it
      | call           | much        |
      | get_messages   | one session |
      | export_session | its usage   |

    Examples: many sessions
      | call                                 | much                |
      | export_sessions                      | sessions and usage  |
      | export_sessions of some ids          | sessions and usage  |
      | export_sessions of an actor          | sessions and usage  |
      | export_sessions of a workspace       | sessions and usage  |
      | export_sessions since a time         | sessions and usage  |

    Examples: everything
      | call   | much       |
      | verify | everything |

  Scenario Outline: What was spent, <call>
    When <call> is called
    Then rows are found by <index>, and only token_usage is sorted or read whole: <whole>

    Examples:
      | call                             | index                               | whole |
      | sum_token_usage                  | token_usage by namespace, recorded_at | may be |
      | sum_token_usage of a session     | token_usage by session_id, usage_id | is not |
      | sum_token_usage of a time        | token_usage by namespace, recorded_at | is not |

  Scenario: No method is missing
    Then every public method of SessionService is called in one of these scenarios

  Scenario Outline: The control: <what> is found
    When the database is asked for <what>
    Then the <fault> is found

    Examples:
      | what                                       | fault                      |
      | messages by a column without an index      | scan of session_messages   |
      | messages in the order of all their indexes | scan of session_messages along session_id, sequence |
      | a session by the time of its messages      | sort of session_messages   |
      | sessions by the time of their last change  | sort of sessions           |
