*** Settings ***
Documentation       What needs an outside: the wheel of this checkout, installed with all its extras into a new
...                 environment in a temporary folder, used from another folder by processes of its own.
...                 PostgreSQL is the server in SESSIONLEDGER_TEST_POSTGRES_URL, or one that is started for the run.

Library             outside.py

Suite Setup         Enter The Outside
Suite Teardown      Leave The Outside
Test Timeout        5 minutes
