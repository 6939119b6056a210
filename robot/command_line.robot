*** Settings ***
Documentation       The command line of the installed wheel, from another folder: what it prints for people and for machines,
...                 its exit codes 0, 1 and 2, and one clear line on standard error when something is wrong.

Library             Collections
Library             OperatingSystem
Library             outside.py

Test Tags           command line


*** Variables ***
${NO_SESSION}       01J8ZC00000000000000000000
${CALL}             {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "find", "arguments": "{}"}}]}
${CONVERSATION}     {"task": 7, "traj": [{"role": "user", "content": "Is it there?"}, ${CALL}, {"role": "tool", "tool_call_id": "call_1", "content": "yes"}]}


*** Test Cases ***
A Conversation From Beginning To End On SQLite
    A Conversation From Beginning To End    sqlite    postgresql

A Conversation From Beginning To End On PostgreSQL
    A Conversation From Beginning To End    postgresql    sqlite

Conversations In The OpenAI Chat Format
    [Documentation]    Each becomes a session, without loss; the same file again changes nothing.
    ${url} =    New Database    sqlite
    ${folder} =    New Folder
    Create File    ${folder}/conversations.jsonl    ${CONVERSATION}\n${CONVERSATION}\n
    VAR    @{import}    import    ${folder}/conversations.jsonl    --format    openai-chat    --messages-key    traj
    ...    --actor    support-bot
    ${done} =    On    ${url}    --json    @{import}
    Should Succeed    ${done}
    Should Be Equal As Integers    ${done.json.imported}    2
    Should Be Equal As Integers    ${done.json.messages}    6
    ${done} =    On    ${url}    --json    @{import}
    Should Be Equal As Integers    ${done.json.imported}    0
    Should Be Equal As Integers    ${done.json.already_there}    2
    ${done} =    On    ${url}    --json    show
    ${call} =    Evaluate    json.loads($CALL)
    Dictionaries Should Be Equal    ${done.json.messages}[1][content]    ${call}
    Should Be Equal    ${done.json.messages}[2][tool_call_id]    call_1

The Database Comes From The Environment Or Is The User's Own File
    ${folder} =    New Folder
    ${done} =    Run Installed    sessionledger    new    --title    My own    XDG_DATA_HOME=${folder}
    Should Succeed    ${done}
    File Should Exist    ${folder}/sessionledger/sessionledger.db
    ${done} =    Run Installed    python    -m    sessionledger    --json    list    XDG_DATA_HOME=${folder}
    Should Be Equal    ${done.json.sessions}[0][title]    My own
    ${url} =    New Database    sqlite
    ${done} =    Run Installed    sessionledger    --json    list
    ...    XDG_DATA_HOME=${folder}    SESSIONLEDGER_DATABASE_URL=${url}
    Should Be Empty    ${done.json.sessions}

Help And Version
    ${done} =    Run Installed    sessionledger    --version
    Should Succeed    ${done}
    Should Match Regexp    ${done.stdout}    ^\\d+\\.\\d+\\.\\d+\\s*$
    ${done} =    Run Installed    sessionledger    --help
    Should Succeed    ${done}
    FOR    ${command}    IN    new    append    list    show    usage    export    import    delete    verify    db    demo
        Should Match Regexp    ${done.stdout}    (?m)^\\W*${command}\\b
    END

A Wrong Use Is Exit Code 2 And One Line
    [Template]    A Wrong Use
    nonsense
    list    --nonsense
    list    --limit    0
    list    --cursor    nonsense
    show    nonsense
    show    ${NO_SESSION}    --last    3    --after    2
    append    ${NO_SESSION}    Hello    --role    wizard
    append    ${NO_SESSION}    {"a": NaN}    --json-content
    new    --metadata    [1]
    db    upgrade    nonsense
    import    nothing.archive    --actor    support-bot

An Expected Error Is Exit Code 1 And One Line
    ${url} =    New Database    sqlite
    ${done} =    On    ${url}    show    ${NO_SESSION}
    Should Fail In One Line    ${done}    1    ${NO_SESSION}
    ${done} =    On    ${url}    delete    ${NO_SESSION}    --yes
    Should Fail In One Line    ${done}    1    ${NO_SESSION}
    ${done} =    On    ${url}    import    nothing.archive
    Should Fail In One Line    ${done}    1    nothing.archive

A Database That Is None Is Exit Code 1 And One Line
    ${folder} =    New Folder
    ${done} =    On    sqlite:///${folder}/missing/ledger.db    list
    Should Fail In One Line    ${done}    1    missing/ledger.db
    Create File    ${folder}/letter.db    This is a letter and no database, and it is long enough to be one.${SPACE * 500}
    ${done} =    On    sqlite:///${folder}/letter.db    list
    Should Fail In One Line    ${done}    1    no SQLite database
    ${empty} =    New Database    postgresql    tables=no
    ${done} =    On    ${empty}    list
    Should Fail In One Line    ${done}    1    sessionledger db upgrade

A Damaged Archive Is Refused And Nothing Is Written
    ${url} =    New Database    sqlite
    ${folder} =    New Folder
    ${done} =    On    ${url}    --json    new    --title    To be kept
    ${done} =    On    ${url}    export    ${done.json.session_id}    -o    ${folder}/kept.archive
    Should Succeed    ${done}
    ${damaged} =    Flip A Bit    ${folder}/kept.archive    200
    ${done} =    On    ${url}    import    ${damaged}
    Should Fail In One Line    ${done}    1    changed or damaged
    ${done} =    On    ${url}    --json    list
    Length Should Be    ${done.json.sessions}    1

A Verification Finds What Was Changed Past The Library
    ${url} =    New Database    sqlite
    ${done} =    On    ${url}    --json    new    --title    A parcel
    VAR    ${session_id}    ${done.json.session_id}
    ${done} =    On    ${url}    append    ${session_id}    Where is my parcel?    --input-tokens    12
    Should Succeed    ${done}
    ${done} =    On    ${url}    --json    verify
    Should Succeed    ${done}
    Should Be True    ${done.json.ok}
    Should Be Equal As Integers    ${done.json.messages}    1
    Run SQL On A File    ${url}    UPDATE session_messages SET content = replace(content, 'parcel', 'pascel')
    ${done} =    On    ${url}    show    ${session_id}
    Should Succeed    ${done}
    ${done} =    On    ${url}    verify
    Should Be Equal As Integers    ${done.rc}    1
    Should Contain    ${done.stdout}    content_hash${SPACE * 2}session ${session_id}
    Should Be Equal    ${done.stderr.strip()}    sessionledger: 1 finding (1 content_hash)
    Should Not Contain    ${done.stdout}    pascel
    ${done} =    On    ${url}    --json    verify
    Should Be Equal As Integers    ${done.rc}    1
    Should Be Equal    ${done.json.findings}[0][session_id]    ${session_id}

No Password Is Ever Printed
    ${url} =    New Database    postgresql    tables=no
    ${url} =    With Password    ${url}    open-sesame
    ${done} =    On    ${url}    list
    Should Fail In One Line    ${done}    1    database
    Should Not Contain    ${done.stderr}    open-sesame
    ${done} =    On    ${url}    db    upgrade
    Should Fail In One Line    ${done}    1    database
    Should Not Contain    ${done.stderr}    open-sesame
    ${done} =    On    nonsense://someone:open-sesame@nowhere/ledger    list
    Should Fail In One Line    ${done}    2    url
    Should Not Contain    ${done.stderr}    open-sesame


*** Keywords ***
On
    [Documentation]    Run a command on a database.
    [Arguments]    ${url}    @{command}    ${stdin}=${EMPTY}
    ${done} =    Run Installed    sessionledger    --database    ${url}    @{command}    stdin=${stdin}
    RETURN    ${done}

A Wrong Use
    [Arguments]    @{command}
    ${folder} =    New Folder
    ${done} =    On    sqlite:///${folder}/ledger.db    @{command}
    Should Fail In One Line    ${done}    2

A Conversation From Beginning To End
    [Arguments]    ${kind}    ${other}
    ${url} =    New Database    ${kind}    tables=no
    ${folder} =    New Folder
    # The tables
    ${done} =    On    ${url}    db    verify
    Should Fail In One Line    ${done}    1    sessionledger db upgrade
    ${done} =    On    ${url}    --json    db    upgrade
    Should Succeed    ${done}
    ${newest} =    Set Variable    ${done.json.revision}
    ${done} =    On    ${url}    db    current
    Should Succeed    ${done}
    Should Be Equal    ${done.stdout.strip()}    ${newest}
    ${done} =    On    ${url}    --json    db    verify
    Should Be True    ${done.json.verified}
    # A session and its messages
    ${done} =    On    ${url}    --json    new    --actor    support-bot    --title    A parcel    --key    case 17
    ...    --metadata    {"channel": "mail"}
    Should Succeed    ${done}
    VAR    ${session_id}    ${done.json.session_id}
    Should Be Equal    ${done.json.metadata.channel}    mail
    ${done} =    On    ${url}    --json    new    --key    case 17
    Should Fail In One Line    ${done}    1    ${session_id}
    ${done} =    On    ${url}    append    ${session_id}    Where is my parcel? 📦
    Should Succeed    ${done}
    Should Start With    ${done.stdout}    1${SPACE}
    ${done} =    On    ${url}    --json    append    ${session_id}    --json-content    --role    assistant
    ...    --format    openai.chat    --input-tokens    120    --output-tokens    30    --cost    0.0031
    ...    --model    any-model    stdin=${CALL}\n
    Should Succeed    ${done}
    Should Be Equal As Integers    ${done.json.sequence}    2
    ${done} =    On    ${url}    --json    append    ${session_id}    in Linden    --role    tool    --tool-call-id    call_1
    ...    --expected-sequence    2
    Should Succeed    ${done}
    ${done} =    On    ${url}    append    ${session_id}    Too late    --expected-sequence    2
    Should Fail In One Line    ${done}    1    3
    # Reading
    ${done} =    On    ${url}    --json    show    ${session_id}
    Should Succeed    ${done}
    ${sequences} =    Evaluate    [each['sequence'] for each in $done.json.messages]
    Should Be Equal    ${sequences}    ${{[1, 2, 3]}}
    Should Be Equal    ${done.json.messages}[0][content]    Where is my parcel? 📦
    VAR    ${written}    ${done.json.messages}
    ${done} =    On    ${url}    show    ${session_id}
    Should Succeed    ${done}
    Should Contain    ${done.stdout}    → find
    ${done} =    On    ${url}    --json    list    --actor    support-bot
    Should Be Equal    ${done.json.sessions}[0][session_id]    ${session_id}
    Should Be Equal As Integers    ${done.json.sessions}[0][last_sequence]    3
    ${done} =    On    ${url}    --json    usage    ${session_id}
    Should Be Equal As Integers    ${done.json.input_tokens}    120
    Should Be Equal    ${done.json.cost}    0.0031
    ${done} =    On    ${url}    --json    --namespace    other    list
    Should Be Empty    ${done.json.sessions}
    # To another database
    ${done} =    On    ${url}    --json    export    ${session_id}    -o    ${folder}/case.archive
    Should Succeed    ${done}
    Should Be Equal As Integers    ${done.json.messages}    3
    Should Match Regexp    ${done.json.sha256}    ^[0-9a-f]{64}$
    ${there} =    New Database    ${other}
    ${done} =    On    ${there}    --json    import    ${folder}/case.archive
    Should Succeed    ${done}
    ${done} =    On    ${there}    --json    show    ${done.json.session.session_id}
    ${hashes} =    Evaluate    [each['content_sha256'] for each in $done.json.messages]
    Should Be Equal    ${hashes}    ${{[each['content_sha256'] for each in $written]}}
    # And away
    ${done} =    On    ${url}    delete    ${session_id}
    Should Fail In One Line    ${done}    2    --yes
    ${done} =    On    ${url}    delete    ${session_id}    --yes
    Should Succeed    ${done}
    ${done} =    On    ${url}    show    ${session_id}
    Should Fail In One Line    ${done}    1    ${session_id}
