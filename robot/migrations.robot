*** Settings ***
Documentation       The tables through the installed wheel: from nothing, from every revision with rows in it, and back;
...                 the same by the plain `alembic` command. Upgrades at once, and killed ones, are in faults/.

Library             Collections
Library             outside.py

Test Tags           migrations


*** Variables ***
${NEWEST}       a7_008_storage_of_sessions
${BEFORE}       a7_003_message_format
@{NOTHING_TO_LOSE}    a7_007_imports    a7_005_listing_indexes    a7_004_token_usage


*** Test Cases ***
From Nothing By The Command Line And Back On SQLite
    From Nothing By The Command Line And Back    sqlite

From Nothing By The Command Line And Back On PostgreSQL
    From Nothing By The Command Line And Back    postgresql

The Plain Alembic Command Does The Same On SQLite
    The Plain Alembic Command Does The Same    sqlite

The Plain Alembic Command Does The Same On PostgreSQL
    The Plain Alembic Command Does The Same    postgresql

From Each Revision With Rows In It On SQLite
    From Each Revision With Rows In It    sqlite

From Each Revision With Rows In It On PostgreSQL
    From Each Revision With Rows In It    postgresql

Back Step By Step On SQLite
    Back Step By Step    sqlite

Back Step By Step On PostgreSQL
    Back Step By Step    postgresql


*** Keywords ***
From Nothing By The Command Line And Back
    [Arguments]    ${kind}
    ${url} =    New Database    ${kind}    tables=no
    ${done} =    Run Installed    sessionledger    db    upgrade    SESSIONLEDGER_DATABASE_URL=${url}
    Should Succeed    ${done}
    Should Contain    ${done.stdout}    ${NEWEST}
    Helper    helper_migrations    fill    url=${url}    revision=${NEWEST}
    ${done} =    Run Installed    sessionledger    --database    ${url}    db    downgrade    ${BEFORE}
    Should Fail In One Line    ${done}    1    would lose    --allow-data-loss
    ${found} =    Helper    helper_migrations    verified    url=${url}
    Should Be Equal    ${found}    ${NEWEST}
    ${done} =    Run Installed    sessionledger    --database    ${url}    --json
    ...    db    downgrade    base    --allow-data-loss
    Should Succeed    ${done}
    Should Be Equal    ${done.json}[revision]    ${None}
    ${done} =    Run Installed    sessionledger    --database    ${url}    db    verify
    Should Fail In One Line    ${done}    1    sessionledger db upgrade
    ${done} =    Run Installed    sessionledger    --database    ${url}    --json    db    upgrade
    Should Succeed    ${done}
    Should Be Equal    ${done.json}[revision]    ${NEWEST}

The Plain Alembic Command Does The Same
    [Documentation]    In a folder with `alembic.ini` and `migrations` alone, so that the package is the wheel's.
    [Arguments]    ${kind}
    ${url} =    New Database    ${kind}    tables=no
    ${folder} =    Copy Of Migrations
    ${done} =    Run Alembic    ${folder}    -x    url=${url}    upgrade    ${BEFORE}
    Should Succeed    ${done}
    Helper    helper_migrations    fill    url=${url}    revision=${BEFORE}
    ${done} =    Run Alembic    ${folder}    -x    url=${url}    upgrade    head
    Should Succeed    ${done}
    ${found} =    Helper    helper_migrations    verified    url=${url}
    Should Be Equal    ${found}    ${NEWEST}
    ${done} =    Run Alembic    ${folder}    -x    url=${url}    check
    Should Succeed    ${done}
    ${done} =    Run Alembic    ${folder}    -x    url=${url}    downgrade    base
    Should Not Be Equal As Integers    ${done.rc}    0
    Should Contain    ${done.stderr}    would lose
    ${found} =    Helper    helper_migrations    current    url=${url}
    Should Be Equal    ${found}    ${NEWEST}
    ${done} =    Run Alembic    ${folder}    -x    url=${url}    -x    allow-data-loss=yes    downgrade    base
    Should Succeed    ${done}
    ${found} =    Helper    helper_migrations    current    url=${url}
    Should Be Equal    ${found}    ${None}

From Each Revision With Rows In It
    [Arguments]    ${kind}
    VAR    @{urls}
    FOR    ${_}    IN RANGE    9
        ${url} =    New Database    ${kind}    tables=no
        Append To List    ${urls}    ${url}
    END
    ${wrong} =    Helper    helper_migrations    from_each_revision    urls=${urls}
    Length Should Be    ${wrong}    9
    FOR    ${revision}    IN    @{wrong}
        Should Be Empty    ${wrong}[${revision}]    from ${revision}: ${wrong}[${revision}]
    END

Back Step By Step
    [Arguments]    ${kind}
    ${url} =    New Database    ${kind}    tables=no
    ${steps} =    Helper    helper_migrations    down_step_by_step    url=${url}
    Length Should Be    ${steps}    9
    FOR    ${step}    IN    @{steps}
        VAR    @{expected}    ${step}[0]    refused    kept    ${step}[0]
        IF    $step[0] in $NOTHING_TO_LOSE    VAR    @{expected}    ${step}[0]    not refused    not kept    ${step}[0]
        Lists Should Be Equal    ${step}    ${expected}
    END
