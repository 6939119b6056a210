*** Settings ***
Documentation       Sessions and messages through the installed wheel, with several processes at once, on both databases.
...                 The count has a control: the same harness, on a careless program, must find what is wrong with it.
...                 Kills, and many writers on one session, are in faults/.

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
