-- Row-level security for sessionledger on PostgreSQL 14 or newer: a connection sees the rows of one namespace.
-- Run it as the owner of the tables, after `sessionledger db upgrade`, and again after each later upgrade:
--   psql --set ON_ERROR_STOP=1 --file row_level_security.sql …
-- Replace sessionledger_app by a name of your own where you like another one.

BEGIN;
SET LOCAL lock_timeout = '5s';  -- rather fail than let everybody queue behind a long transaction

-- The rights that a service needs, and no more. Roles that log in are made members of it. Where the owner may not make
-- roles, an administrator makes this one first.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sessionledger_app') THEN
        CREATE ROLE sessionledger_app NOLOGIN;
    END IF;
END
$$;
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO sessionledger_app;
GRANT SELECT, INSERT, DELETE ON session_messages TO sessionledger_app;
GRANT SELECT, INSERT ON token_usage, resources TO sessionledger_app;
GRANT SELECT ON sessionledger_revision, sessionledger_compatible_revisions TO sessionledger_app;

-- The namespace of a connection; NULL, which equals nothing, where none is set.
CREATE OR REPLACE FUNCTION sessionledger_namespace() RETURNS text LANGUAGE sql STABLE
AS $$ SELECT current_setting('sessionledger.namespace', true) $$;

-- FORCE holds the owner to it as well. Superusers and roles with BYPASSRLS are never held to it.
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE session_messages ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE token_usage ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE resources ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- The function is asked in a sub-query, so that it is asked once a statement and not once a row.
DROP POLICY IF EXISTS sessionledger_namespace ON sessions;
CREATE POLICY sessionledger_namespace ON sessions
    USING (namespace = (SELECT sessionledger_namespace()));

DROP POLICY IF EXISTS sessionledger_namespace ON token_usage;
CREATE POLICY sessionledger_namespace ON token_usage
    USING (namespace = (SELECT sessionledger_namespace()));

DROP POLICY IF EXISTS sessionledger_namespace ON resources;
CREATE POLICY sessionledger_namespace ON resources
    USING (namespace = (SELECT sessionledger_namespace()));

-- A message belongs to the namespace of its session. Not EXISTS or IN: those the planner may hash, and then every read of
-- a message would walk through all sessions of the namespace.
DROP POLICY IF EXISTS sessionledger_namespace ON session_messages;
CREATE POLICY sessionledger_namespace ON session_messages
    USING (
        (SELECT sessions.namespace FROM sessions WHERE sessions.session_id = session_messages.session_id)
        = (SELECT sessionledger_namespace())
    );

COMMIT;
