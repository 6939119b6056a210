*** Settings ***
Documentation       Rolling deploys: the last release goes on working when today's has upgraded the tables. The last release
...                 is the newest tag `v*` of git, as a wheel in an environment of its own; until there is one, today's
...                 wheel stands in for it, on tables that a newer release would leave behind.

Library             outside.py
Library             releases.py

Test Tags           releases


*** Variables ***
${COLUMN}       ALTER TABLE sessions ADD COLUMN colour VARCHAR(20)
${TABLE}        CREATE TABLE later (later_id VARCHAR(26) NOT NULL PRIMARY KEY)
${RENAMED}      ALTER TABLE sessions RENAME COLUMN title TO heading
${RECORDED}     INSERT INTO sessionledger_compatible_revisions (revision) VALUES ('zz_001_future')
${DELETED}      DELETE FROM sessionledger_compatible_revisions


*** Test Cases ***
The Last Release Works On Today's Tables
    ${tag} =    Last Release
    IF    $tag is None
        Skip    Nothing to compare with: git has no tag v* behind this commit, so nothing was released yet
    END
    ${wheel} =    Wheel Of    ${tag}
    ${release} =    Installed Wheel    ${wheel}
    A Release Works On Today's Tables    ${release}    sqlite
    A Release Works On Today's Tables    ${release}    postgresql

Today's Wheel Works On Today's Tables
    [Documentation]    The same for a wheel that is there from the first day on.
    ${wheel} =    Todays Wheel
    ${release} =    Installed Wheel    ${wheel}
    A Release Works On Today's Tables    ${release}    sqlite
    A Release Works On Today's Tables    ${release}    postgresql

A Release Works On Tables That Only Grew
    FOR    ${kind}    IN    sqlite    postgresql
        ${url} =    Tables Of A Newer Release    ${kind}    ${COLUMN}    ${TABLE}    ${RECORDED}
        Todays Use    ${url}
    END

Control: A Release Fails Where A Column Was Renamed
    FOR    ${kind}    IN    sqlite    postgresql
        ${url} =    Tables Of A Newer Release    ${kind}    ${RENAMED}    ${RECORDED}
        Run Keyword And Expect Error    the release fails: *StorageError*    Todays Use    ${url}
    END

Control: A Release Refuses Where The Newer One Does Not Say That It May
    FOR    ${kind}    IN    sqlite    postgresql
        ${url} =    Tables Of A Newer Release    ${kind}    ${COLUMN}    ${DELETED}
        Run Keyword And Expect Error    the release fails: *SchemaRevisionError*    Todays Use    ${url}
    END


*** Keywords ***
A Release Works On Today's Tables
    [Documentation]    On tables of its own, upgraded by today's wheel, with both writing in turn.
    [Arguments]    ${release}    ${kind}
    ${today} =    Todays Programs
    ${url} =    New Database    ${kind}    tables=no
    Release Does    ${release}    make_tables    url=${url}
    Use Well    ${release}    ${url}    the release    0
    Release Does    ${today}    make_tables    url=${url}
    Use Well    ${release}    ${url}    the release    1
    Use Well    ${today}    ${url}    today    2
    Use Well    ${release}    ${url}    the release    3

Tables Of A Newer Release
    [Arguments]    ${kind}    @{statements}
    ${url} =    New Database    ${kind}
    Todays Use    ${url}
    Change Tables    ${url}    @{statements}
    RETURN    ${url}

Todays Use
    [Arguments]    ${url}
    ${today} =    Todays Programs
    ${found} =    Release Does    ${today}    use    url=${url}    writer=today
    Should Be Empty    ${found}[wrong]    ${found}[wrong]

Use Well
    [Arguments]    ${programs}    ${url}    ${writer}    ${earlier}
    ${found} =    Release Does    ${programs}    use    url=${url}    writer=${writer}
    Should Be Empty    ${found}[wrong]    ${found}[wrong]
    Should Be Equal As Integers    ${found}[earlier]    ${earlier}
