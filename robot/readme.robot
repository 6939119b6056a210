*** Settings ***
Documentation       The two commands of README.md, taken from it letter by letter and run in a fresh copy of the checkout:
...                 what git knows, or would not ignore, in an empty folder.

Library             outside.py

Test Tags           readme


*** Test Cases ***
Try It
    [Documentation]    The command below `Try it`, verbatim.
    ${line} =    Command In The Readme    Try it
    ${folder} =    Fresh Copy Of The Checkout
    ${done} =    Run Line    ${folder}    ${line}
    Should Succeed    ${done}
    Should Contain    ${done.stdout}    sessionledger export

Test It
    [Documentation]    The command below `Test it`. Its first part, which makes the environment and installs nox, is run
    ...    verbatim; then nox lists its sessions and runs the fastest one. All of nox would run these tests again, and
    ...    so on for ever.
    ${line} =    Command In The Readme    Test it
    ${folder} =    Fresh Copy Of The Checkout
    ${install}    ${nox} =    Split Last Command    ${line}
    Should End With    ${nox}    nox
    ${done} =    Run Line    ${folder}    ${install}
    Should Succeed    ${done}
    ${done} =    Run Line    ${folder}    ${nox} --list
    Should Succeed    ${done}
    FOR    ${session}    IN    lint    types    layers    features    robot    coverage_report    docs
        Should Match Regexp    ${done.stdout}    (?m)^\\* ${session}\\b
    END
    ${done} =    Run Line    ${folder}    ${nox} -s lint
    Should Succeed    ${done}
