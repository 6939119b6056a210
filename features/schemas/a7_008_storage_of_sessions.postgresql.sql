CREATE TABLE public.resources (
    resource_id character varying(26) NOT NULL COLLATE pg_catalog."C",
    namespace character varying(255) NOT NULL,
    kind character varying(64) NOT NULL,
    name character varying(1000) NOT NULL,
    aliases text DEFAULT '[]'::text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
CREATE TABLE public.session_messages (
    message_id character varying(26) NOT NULL COLLATE pg_catalog."C",
    session_id character varying(26) NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL,
    role character varying(64) NOT NULL,
    content text NOT NULL,
    tool_call_id character varying(255),
    metadata text DEFAULT '{}'::text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    format character varying(64) DEFAULT 'json'::character varying NOT NULL,
    content_sha256 character varying(64),
    unknown_fields text
);
CREATE TABLE public.sessionledger_compatible_revisions (
    revision character varying(32) NOT NULL
);
CREATE TABLE public.sessionledger_revision (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.sessions (
    session_id character varying(26) NOT NULL COLLATE pg_catalog."C",
    namespace character varying(255) NOT NULL,
    actor_name character varying(255),
    metadata text DEFAULT '{}'::text NOT NULL,
    last_sequence bigint DEFAULT 0 NOT NULL,
    input_tokens bigint DEFAULT 0 NOT NULL,
    output_tokens bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    title character varying(1000),
    key character varying(255),
    workspace character varying(26) COLLATE pg_catalog."C",
    version bigint DEFAULT 1 NOT NULL,
    archived_at timestamp with time zone,
    cached_input_tokens bigint DEFAULT 0 NOT NULL,
    cache_write_tokens bigint DEFAULT 0 NOT NULL,
    reasoning_tokens bigint DEFAULT 0 NOT NULL,
    cost bigint,
    source_session_id character varying(26) COLLATE pg_catalog."C",
    source_sha256 character varying(64),
    unknown_fields text,
    CONSTRAINT ck_sessions_cache_write_tokens CHECK (((cache_write_tokens >= 0) AND (cache_write_tokens <= '9223372036854775807'::bigint))),
    CONSTRAINT ck_sessions_cached_input_tokens CHECK (((cached_input_tokens >= 0) AND (cached_input_tokens <= '9223372036854775807'::bigint))),
    CONSTRAINT ck_sessions_cost CHECK (((cost >= 0) AND (cost <= '9223372036854775807'::bigint))),
    CONSTRAINT ck_sessions_input_tokens CHECK (((input_tokens >= 0) AND (input_tokens <= '9223372036854775807'::bigint))),
    CONSTRAINT ck_sessions_last_sequence CHECK (((last_sequence >= 0) AND (last_sequence <= '9223372036854775807'::bigint))),
    CONSTRAINT ck_sessions_output_tokens CHECK (((output_tokens >= 0) AND (output_tokens <= '9223372036854775807'::bigint))),
    CONSTRAINT ck_sessions_reasoning_tokens CHECK (((reasoning_tokens >= 0) AND (reasoning_tokens <= '9223372036854775807'::bigint)))
)
WITH (fillfactor='90');
CREATE TABLE public.token_usage (
    session_id character varying(26) NOT NULL COLLATE pg_catalog."C",
    usage_id character varying(26) NOT NULL COLLATE pg_catalog."C",
    message_id character varying(26) COLLATE pg_catalog."C",
    actor_name character varying(255),
    namespace character varying(255) NOT NULL,
    model character varying(255),
    input_tokens bigint,
    output_tokens bigint,
    cached_input_tokens bigint,
    cache_write_tokens bigint,
    reasoning_tokens bigint,
    cost bigint,
    imported boolean DEFAULT false NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    unknown_fields text
);
INSERT INTO public.resources VALUES ('01HZX3V9QK2M4N5P6R7S8T9VWZ', 'default', 'workspace', 'north-office', '[]', '2026-03-01 09:30:00.123456+00', '2026-03-01 12:00:00+00');
INSERT INTO public.session_messages VALUES ('01HZX3V9QK2M4N5P6R7S8T9VW1', '01HZX3V9QK2M4N5P6R7S8T9VWX', 1, 'user', '"Where is my parcel? 📦"', NULL, '{}', '2026-03-01 09:30:00.123456+00', 'text', '25b6482aec51dde9a4872583e0e3d2640d5fc3c2ece75d6ea394bd6e5147ef19', NULL);
INSERT INTO public.session_messages VALUES ('01HZX3V9QK2M4N5P6R7S8T9VW2', '01HZX3V9QK2M4N5P6R7S8T9VWX', 2, 'assistant', '{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"track"},"id":"call_7"}]}', NULL, '{}', '2026-03-01 09:30:00.123456+00', 'json', 'a569d9c35e33b501db378a13a53e08765d3f0e0514b8a1273c0dfd35213eb70f', NULL);
INSERT INTO public.session_messages VALUES ('01HZX3V9QK2M4N5P6R7S8T9VW3', '01HZX3V9QK2M4N5P6R7S8T9VWX', 3, 'tool', '"On its way: 1e16 -0.0 \u0000"', 'call_7', '{}', '2026-03-01 09:30:00.123456+00', 'text', '29ced2574ce6df65c9433f1f3e5ab830441edce0fbd973f5ae582020c3babc38', '{"stars":5}');
INSERT INTO public.sessionledger_compatible_revisions VALUES ('a7_006_compatible_revisions');
INSERT INTO public.sessionledger_compatible_revisions VALUES ('a7_007_imports');
INSERT INTO public.sessionledger_compatible_revisions VALUES ('a7_008_storage_of_sessions');
INSERT INTO public.sessionledger_revision VALUES ('a7_008_storage_of_sessions');
INSERT INTO public.sessions VALUES ('01HZX3V9QK2M4N5P6R7S8T9VWX', 'default', 'ann', '{"channel":"mail"}', 3, 15, 4, '2026-03-01 09:30:00.123456+00', '2026-03-01 12:00:00+00', 'Parcel', NULL, '01HZX3V9QK2M4N5P6R7S8T9VWZ', 2, NULL, 10, 0, 2, 12000, NULL, NULL, NULL);
INSERT INTO public.sessions VALUES ('01HZX3V9QK2M4N5P6R7S8T9VWY', 'acme', NULL, '{}', 0, 0, 0, '2026-03-01 09:30:00.123456+00', '2026-03-01 12:00:00+00', NULL, NULL, NULL, 1, NULL, 0, 0, 0, NULL, '01HZX3V9QK2M4N5P6R7S8T9VWX', '5555555555555555555555555555555555555555555555555555555555555555', '{"mood":"calm"}');
INSERT INTO public.token_usage VALUES ('01HZX3V9QK2M4N5P6R7S8T9VWX', '01HZX3V9QK2M4N5P6R7S8T9VW1', '01HZX3V9QK2M4N5P6R7S8T9VW2', 'ann', 'default', 'small', 12, 4, 10, NULL, NULL, 12000, false, '2026-03-01 12:00:00+00', NULL);
INSERT INTO public.token_usage VALUES ('01HZX3V9QK2M4N5P6R7S8T9VWX', '01HZX3V9QK2M4N5P6R7S8T9VW5', NULL, 'ann', 'default', 'large', 3, 0, NULL, NULL, 2, NULL, false, '2026-03-01 12:00:00+00', '{"tier":1}');
ALTER TABLE ONLY public.resources
    ADD CONSTRAINT pk_resources PRIMARY KEY (resource_id);
ALTER TABLE ONLY public.session_messages
    ADD CONSTRAINT pk_session_messages PRIMARY KEY (session_id, message_id);
ALTER TABLE ONLY public.sessionledger_compatible_revisions
    ADD CONSTRAINT pk_sessionledger_compatible_revisions PRIMARY KEY (revision);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT pk_sessions PRIMARY KEY (session_id);
ALTER TABLE ONLY public.token_usage
    ADD CONSTRAINT pk_token_usage PRIMARY KEY (session_id, usage_id);
ALTER TABLE ONLY public.sessionledger_revision
    ADD CONSTRAINT sessionledger_revision_pkc PRIMARY KEY (version_num);
CREATE INDEX ix_resources_namespace_kind_name ON public.resources USING btree (namespace, kind, name);
CREATE UNIQUE INDEX ix_session_messages_session_id_sequence ON public.session_messages USING btree (session_id, sequence);
CREATE INDEX ix_sessions_actor_name ON public.sessions USING btree (actor_name);
CREATE INDEX ix_sessions_created_at ON public.sessions USING brin (created_at);
CREATE INDEX ix_sessions_namespace_actor_name_created_at_session_id ON public.sessions USING btree (namespace, actor_name, created_at, session_id);
CREATE INDEX ix_sessions_namespace_created_at_session_id ON public.sessions USING btree (namespace, created_at, session_id);
CREATE INDEX ix_sessions_namespace_workspace_created_at_session_id ON public.sessions USING btree (namespace, workspace, created_at, session_id);
CREATE INDEX ix_token_usage_namespace_recorded_at ON public.token_usage USING btree (namespace, recorded_at);
ALTER TABLE ONLY public.session_messages
    ADD CONSTRAINT fk_session_messages_session_id FOREIGN KEY (session_id) REFERENCES public.sessions(session_id) ON DELETE CASCADE;
