CREATE TABLE public.resources (
    resource_id character varying(26) NOT NULL COLLATE pg_catalog."C",
    namespace character varying(255) NOT NULL,
    kind character varying(64) NOT NULL,
    name character varying(1000) NOT NULL,
    aliases text DEFAULT '[]'::text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);
CREATE TABLE public.sessionledger_revision (
    version_num character varying(32) NOT NULL
);
INSERT INTO public.resources VALUES ('01HZX3V9QK2M4N5P6R7S8T9VWZ', 'default', 'workspace', 'north-office', '[]', '2026-03-01 09:30:00.123456+00', '2026-03-01 12:00:00+00');
INSERT INTO public.sessionledger_revision VALUES ('b1_001_resource_registry');
ALTER TABLE ONLY public.resources
    ADD CONSTRAINT pk_resources PRIMARY KEY (resource_id);
ALTER TABLE ONLY public.sessionledger_revision
    ADD CONSTRAINT sessionledger_revision_pkc PRIMARY KEY (version_num);
CREATE INDEX ix_resources_namespace_kind_name ON public.resources USING btree (namespace, kind, name);
