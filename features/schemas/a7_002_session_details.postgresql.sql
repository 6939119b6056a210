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
    created_at timestamp with time zone NOT NULL
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
    CONSTRAINT ck_sessions_input_tokens CHECK (((input_tokens >= 0) AND (input_tokens <= '9223372036854775807'::bigint))),
    CONSTRAINT ck_sessions_last_sequence CHECK (((last_sequence >= 0) AND (last_sequence <= '9223372036854775807'::bigint))),
    CONSTRAINT ck_sessions_output_tokens CHECK (((output_tokens >= 0) AND (output_tokens <= '9223372036854775807'::bigint)))
);
INSERT INTO public.resources VALUES ('01HZX3V9QK2M4N5P6R7S8T9VWZ', 'default', 'workspace', 'north-office', '[]', '2026-03-01 09:30:00.123456+00', '2026-03-01 12:00:00+00');
INSERT INTO public.session_messages VALUES ('01HZX3V9QK2M4N5P6R7S8T9VW1', '01HZX3V9QK2M4N5P6R7S8T9VWX', 1, 'user', '"Where is my parcel? 📦"', NULL, '{}', '2026-03-01 09:30:00.123456+00');
INSERT INTO public.session_messages VALUES ('01HZX3V9QK2M4N5P6R7S8T9VW2', '01HZX3V9QK2M4N5P6R7S8T9VWX', 2, 'assistant', '{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"track"},"id":"call_7"}]}', NULL, '{}', '2026-03-01 09:30:00.123456+00');
INSERT INTO public.session_messages VALUES ('01HZX3V9QK2M4N5P6R7S8T9VW3', '01HZX3V9QK2M4N5P6R7S8T9VWX', 3, 'tool', '"On its way: 1e16 -0.0 \u0000"', 'call_7', '{}', '2026-03-01 09:30:00.123456+00');
INSERT INTO public.sessionledger_revision VALUES ('a7_002_session_details');
INSERT INTO public.sessions VALUES ('01HZX3V9QK2M4N5P6R7S8T9VWX', 'default', 'ann', '{"channel":"mail"}', 3, 15, 4, '2026-03-01 09:30:00.123456+00', '2026-03-01 12:00:00+00', 'Parcel', NULL, '01HZX3V9QK2M4N5P6R7S8T9VWZ', 2, NULL);
INSERT INTO public.sessions VALUES ('01HZX3V9QK2M4N5P6R7S8T9VWY', 'acme', NULL, '{}', 0, 0, 0, '2026-03-01 09:30:00.123456+00', '2026-03-01 12:00:00+00', NULL, NULL, NULL, 1, NULL);
ALTER TABLE ONLY public.resources
    ADD CONSTRAINT pk_resources PRIMARY KEY (resource_id);
ALTER TABLE ONLY public.session_messages
    ADD CONSTRAINT pk_session_messages PRIMARY KEY (session_id, message_id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT pk_sessions PRIMARY KEY (session_id);
ALTER TABLE ONLY public.sessionledger_revision
    ADD CONSTRAINT sessionledger_revision_pkc PRIMARY KEY (version_num);
CREATE INDEX ix_resources_namespace_kind_name ON public.resources USING btree (namespace, kind, name);
CREATE UNIQUE INDEX ix_session_messages_session_id_sequence ON public.session_messages USING btree (session_id, sequence);
CREATE INDEX ix_sessions_actor_name ON public.sessions USING btree (actor_name);
CREATE INDEX ix_sessions_created_at ON public.sessions USING btree (created_at);
ALTER TABLE ONLY public.session_messages
    ADD CONSTRAINT fk_session_messages_session_id FOREIGN KEY (session_id) REFERENCES public.sessions(session_id) ON DELETE CASCADE;
