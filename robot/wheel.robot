*** Settings ***
Documentation       What the wheel and the sdist hold.

Library             Collections
Library             outside.py

Test Tags           wheel


*** Test Cases ***
The Wheel Holds The Migrations
    ${files} =    Files In The Wheel
    ${migrations} =    Migrations In The Checkout
    FOR    ${file}    IN    @{migrations}
        List Should Contain Value    ${files}    sessionledger/infrastructure/database/migrations/${file}
    END

The Wheel Says That It Is Typed
    ${files} =    Files In The Wheel
    List Should Contain Value    ${files}    sessionledger/py.typed

The Wheel Holds The Package And Nothing Else
    ${files} =    Files In The Wheel
    FOR    ${file}    IN    @{files}
        Should Match Regexp    ${file}    ^sessionledger(/|-[0-9.]+\\.dist-info/)
        Should Not Match Regexp    ${file}    (?i)test|features|robot|benchmarks|\\.pyc$|\\.db$
    END

The Sdist Holds What A Wheel Is Built From
    [Documentation]    The wheel under test was built from the sdist, so that whatever is missing would show.
    ${files} =    Files In The Sdist
    ${migrations} =    Migrations In The Checkout
    FOR    ${file}    IN    @{migrations}
        List Should Contain Value    ${files}    migrations/${file}
    END
    FOR    ${file}    IN    pyproject.toml    README.md    LICENSE    alembic.ini    src/sessionledger/py.typed
        List Should Contain Value    ${files}    ${file}
    END
    FOR    ${file}    IN    @{files}
        Should Not Match Regexp    ${file}    ^(features|robot|benchmarks|docs|build)/
    END
