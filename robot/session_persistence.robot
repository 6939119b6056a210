*** Settings ***
Documentation       Sessions and messages through the installed wheel, with several processes at once, on both databases.
...                 Each count has a control: the same harness, on a careless program, must find what is wrong with it.

Library             Collections
Library             outside.py

Test Tags           sessions


*** Test Cases ***
The Package Under Test Is The Installed Wheel
    ${package} =    Helper    helper_session_persistence    where_from
    ${checkout} =    Checkout
    Should Not Start With    ${package}    ${checkout}
    Should Contain    ${package}    site-packages

A Session Comes Back As It Went In On SQLite
    A Session Comes Back As It Went In    sqlite

A Session Comes Back As It Went In On PostgreSQL
    A Session Comes Back As It Went In    postgresql

Eight Processes Append To One Session On SQLite
    Eight Processes Append To One Session    sqlite

Eight Processes Append To One Session On PostgreSQL
    Eight Processes Append To One Session    postgresql

Control: Numbering By The Highest Sequence Fails On SQLite
    Careless Numbering Is Found Out    sqlite

Control: Numbering By The Highest Sequence Fails On PostgreSQL
    Careless Numbering Is Found Out    postgresql

An Archive Goes From SQLite To PostgreSQL And Back
    An Archive Goes There And Back    sqlite    postgresql

An Archive Goes From PostgreSQL To SQLite And Back
    An Archive Goes There And Back    postgresql    sqlite

Eight Processes Add Up Token Usage On SQLite
    Eight Processes Add Up Token Usage    sqlite

Eight Processes Add Up Token Usage On PostgreSQL
    Eight Processes Add Up Token Usage    postgresql

Control: Totals Written Back Are Wrong On PostgreSQL
    [Documentation]    Reading a total, adding, and writing it back loses what others added in between.
    ${url}    ${session_id} =    An Empty Session    postgresql
    ${writers} =    Helpers At Once    helper_session_persistence    add_usage_naively    ${8}
    ...    url=${url}    session_id=${session_id}    count=${100}
    ${found} =    Helper    helper_session_persistence    totals
    ...    url=${url}    session_id=${session_id}    writers=${writers}
    Should Not Be True    ${found}[exact]

A Killed Client Loses Nothing On SQLite
    A Killed Client Loses Nothing    sqlite

A Killed Client Loses Nothing On PostgreSQL
    A Killed Client Loses Nothing    postgresql

Control: A Client That Answers Before It Commits Loses Messages On SQLite
    A Careless Client Loses Messages    sqlite

Control: A Client That Answers Before It Commits Loses Messages On PostgreSQL
    A Careless Client Loses Messages    postgresql


*** Keywords ***
An Empty Session
    [Arguments]    ${kind}
    ${url} =    New Database    ${kind}
    ${session_id} =    Helper    helper_session_persistence    new_session    url=${url}
    RETURN    ${url}    ${session_id}

A Session Comes Back As It Went In
    [Documentation]    One process writes, another one reads; a third one, in another namespace, finds nothing.
    [Arguments]    ${kind}
    ${url} =    New Database    ${kind}
    ${written} =    Helper    helper_session_persistence    write    url=${url}
    ${read} =    Helper    helper_session_persistence    read    url=${url}    session_id=${written}[session_id]
    Dictionaries Should Be Equal    ${read}    ${written}
    Should Be True    ${read}[content_as_sent]
    Should Be Equal As Integers    ${read}[last_sequence]    6
    ${elsewhere} =    Helper    helper_session_persistence    read_elsewhere
    ...    url=${url}    session_id=${written}[session_id]
    Should Be Equal    ${elsewhere}    not found

Eight Processes Append To One Session
    [Documentation]    1,200 messages, one by one and in batches, while a ninth process reads what is new.
    [Arguments]    ${kind}
    ${url}    ${session_id} =    An Empty Session    ${kind}
    ${done} =    Writers And A Reader    ${8}    url=${url}    session_id=${session_id}    count=${150}
    ${found} =    Helper    helper_session_persistence    count
    ...    url=${url}    session_id=${session_id}    writers=${done.writers}
    Say    8 processes on ${kind}    ${found}
    VAR    &{expected}    sent=${1200}    stored=${1200}    lost=${0}    doubled=${0}    gaps=${0}
    ...    out_of_order=${0}    errors=${0}
    Dictionaries Should Be Equal    ${found}    ${expected}
    Lists Should Be Equal    ${done.followed}    ${{list(range(1, 1201))}}

Careless Numbering Is Found Out
    [Arguments]    ${kind}
    ${url}    ${session_id} =    An Empty Session    ${kind}
    ${writers} =    Helpers At Once    helper_session_persistence    append_naively    ${8}
    ...    url=${url}    session_id=${session_id}    count=${100}
    ${found} =    Helper    helper_session_persistence    count
    ...    url=${url}    session_id=${session_id}    writers=${writers}
    Say    MAX()+1 on ${kind}    ${found}
    Should Be True    ${found.errors} > 0
    Should Be True    ${found.stored} < ${found.sent}

An Archive Goes There And Back
    [Arguments]    ${from}    ${to}
    ${here} =    New Database    ${from}
    ${there} =    New Database    ${to}
    ${folder} =    New Folder
    ${written} =    Helper    helper_session_persistence    write    url=${here}
    ${receipt} =    Helper    helper_session_persistence    export
    ...    url=${here}    session_id=${written}[session_id]    path=${folder}/first.archive
    Should Be Equal As Integers    ${receipt}[messages]    6
    Should Be Equal As Integers    ${receipt}[usage_records]    3
    ${imported} =    Helper    helper_session_persistence    import_twice    url=${there}    path=${folder}/first.archive
    Should Be True    ${imported}[same_again] and ${imported}[copy_is_another]
    Should Be Equal As Integers    ${imported}[sessions]    2
    The Same Conversation    ${imported}[copy]    ${written}
    ${read} =    Helper    helper_session_persistence    read    url=${there}    session_id=${imported}[session_id]
    The Same Conversation    ${read}    ${written}
    Helper    helper_session_persistence    export
    ...    url=${there}    session_id=${imported}[session_id]    path=${folder}/second.archive
    ${back} =    Helper    helper_session_persistence    import_twice    url=${here}    path=${folder}/second.archive
    ${read} =    Helper    helper_session_persistence    read    url=${here}    session_id=${back}[session_id]
    The Same Conversation    ${read}    ${written}
    ${damaged} =    Helper    helper_session_persistence    import_damaged
    ...    url=${there}    path=${folder}/first.archive    flips=${200}
    Say    damaged archives into ${to}    ${damaged}
    VAR    &{expected}    tried=${204}    refused=${204}    written=${0}
    Dictionaries Should Be Equal    ${damaged}    ${expected}

The Same Conversation
    [Documentation]    Everything but the ids, which an import makes new.
    [Arguments]    ${read}    ${written}
    Dictionaries Should Be Equal    ${read}    ${written}    ignore_keys=['session_id']

Eight Processes Add Up Token Usage
    [Documentation]    Each adds 60 records, half of them with messages; a third of them is sent twice and counts once.
    [Arguments]    ${kind}
    ${url}    ${session_id} =    An Empty Session    ${kind}
    ${writers} =    Helpers At Once    helper_session_persistence    add_usage    ${8}
    ...    url=${url}    session_id=${session_id}    count=${60}
    ${found} =    Helper    helper_session_persistence    totals
    ...    url=${url}    session_id=${session_id}    writers=${writers}
    Say    token usage on ${kind}    ${found}
    Should Be True    ${found}[exact]
    Should Be Equal As Integers    ${found}[records]    480
    Should Be Equal As Integers    ${found}[errors]    0

A Killed Client Loses Nothing
    [Documentation]    Twenty clients, each killed at a random moment of its appending; the next one sends again what
    ...    was left without an answer.
    [Arguments]    ${kind}
    ${url}    ${session_id} =    An Empty Session    ${kind}
    ${found} =    Helper    helper_session_persistence    be_killed
    ...    url=${url}    session_id=${session_id}    kills=${20}    way=durably
    Say    kill -9 on ${kind}    ${found}
    Should Be True    ${found.acknowledged} >= 20
    Should Be True    ${found.acknowledged} <= ${found.stored} <= ${found.acknowledged} + 1
    Should Be Equal As Integers    ${found.lost}    0
    Should Be Equal As Integers    ${found.doubled}    0
    Should Be Equal As Integers    ${found.gaps}    0
    Should Be Equal As Integers    ${found.never_sent}    0

A Careless Client Loses Messages
    [Arguments]    ${kind}
    ${url}    ${session_id} =    An Empty Session    ${kind}
    ${found} =    Helper    helper_session_persistence    be_killed
    ...    url=${url}    session_id=${session_id}    kills=${20}    way=naively
    Say    kill -9, answered too early, on ${kind}    ${found}
    Should Be True    ${found.lost} > 0
