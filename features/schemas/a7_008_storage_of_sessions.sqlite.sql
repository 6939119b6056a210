BEGIN TRANSACTION;
CREATE TABLE resources (
	resource_id VARCHAR(26) NOT NULL, 
	namespace VARCHAR(255) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	name VARCHAR(1000) NOT NULL, 
	aliases TEXT DEFAULT '[]' NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	CONSTRAINT pk_resources PRIMARY KEY (resource_id)
);
INSERT INTO "resources" VALUES('01HZX3V9QK2M4N5P6R7S8T9VWZ','default','workspace','north-office','[]','2026-03-01 09:30:00.123456','2026-03-01 12:00:00.000000');
CREATE TABLE session_messages (
	message_id VARCHAR(26) NOT NULL, 
	session_id VARCHAR(26) NOT NULL, 
	sequence BIGINT NOT NULL, 
	role VARCHAR(64) NOT NULL, 
	content TEXT NOT NULL, 
	tool_call_id VARCHAR(255), 
	metadata TEXT DEFAULT '{}' NOT NULL, 
	created_at DATETIME NOT NULL, format VARCHAR(64) DEFAULT 'json' NOT NULL, content_sha256 VARCHAR(64), unknown_fields TEXT, 
	CONSTRAINT pk_session_messages PRIMARY KEY (session_id, message_id), 
	CONSTRAINT fk_session_messages_session_id FOREIGN KEY(session_id) REFERENCES sessions (session_id) ON DELETE CASCADE
);
INSERT INTO "session_messages" VALUES('01HZX3V9QK2M4N5P6R7S8T9VW1','01HZX3V9QK2M4N5P6R7S8T9VWX',1,'user','"Where is my parcel? 📦"',NULL,'{}','2026-03-01 09:30:00.123456','text','25b6482aec51dde9a4872583e0e3d2640d5fc3c2ece75d6ea394bd6e5147ef19',NULL);
INSERT INTO "session_messages" VALUES('01HZX3V9QK2M4N5P6R7S8T9VW2','01HZX3V9QK2M4N5P6R7S8T9VWX',2,'assistant','{"role":"assistant","tool_calls":[{"function":{"arguments":"{}","name":"track"},"id":"call_7"}]}',NULL,'{}','2026-03-01 09:30:00.123456','json','a569d9c35e33b501db378a13a53e08765d3f0e0514b8a1273c0dfd35213eb70f',NULL);
INSERT INTO "session_messages" VALUES('01HZX3V9QK2M4N5P6R7S8T9VW3','01HZX3V9QK2M4N5P6R7S8T9VWX',3,'tool','"On its way: 1e16 -0.0 \u0000"','call_7','{}','2026-03-01 09:30:00.123456','text','29ced2574ce6df65c9433f1f3e5ab830441edce0fbd973f5ae582020c3babc38','{"stars":5}');
CREATE TABLE sessionledger_compatible_revisions (
	revision VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_sessionledger_compatible_revisions PRIMARY KEY (revision)
);
INSERT INTO "sessionledger_compatible_revisions" VALUES('a7_006_compatible_revisions');
INSERT INTO "sessionledger_compatible_revisions" VALUES('a7_007_imports');
INSERT INTO "sessionledger_compatible_revisions" VALUES('a7_008_storage_of_sessions');
CREATE TABLE sessionledger_revision (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT sessionledger_revision_pkc PRIMARY KEY (version_num)
);
INSERT INTO "sessionledger_revision" VALUES('a7_008_storage_of_sessions');
CREATE TABLE sessions (
	session_id VARCHAR(26) NOT NULL, 
	namespace VARCHAR(255) NOT NULL, 
	actor_name VARCHAR(255), 
	metadata TEXT DEFAULT '{}' NOT NULL, 
	last_sequence BIGINT DEFAULT 0 NOT NULL, 
	input_tokens BIGINT DEFAULT 0 NOT NULL, 
	output_tokens BIGINT DEFAULT 0 NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, title VARCHAR(1000), "key" VARCHAR(255), workspace VARCHAR(26), version BIGINT DEFAULT 1 NOT NULL, archived_at DATETIME, cached_input_tokens BIGINT DEFAULT 0 NOT NULL CONSTRAINT ck_sessions_cached_input_tokens CHECK (cached_input_tokens >= 0 AND cached_input_tokens <= 9223372036854775807), cache_write_tokens BIGINT DEFAULT 0 NOT NULL CONSTRAINT ck_sessions_cache_write_tokens CHECK (cache_write_tokens >= 0 AND cache_write_tokens <= 9223372036854775807), reasoning_tokens BIGINT DEFAULT 0 NOT NULL CONSTRAINT ck_sessions_reasoning_tokens CHECK (reasoning_tokens >= 0 AND reasoning_tokens <= 9223372036854775807), cost BIGINT NULL CONSTRAINT ck_sessions_cost CHECK (cost >= 0 AND cost <= 9223372036854775807), source_session_id VARCHAR(26), source_sha256 VARCHAR(64), unknown_fields TEXT, 
	CONSTRAINT pk_sessions PRIMARY KEY (session_id), 
	CONSTRAINT ck_sessions_last_sequence CHECK (last_sequence >= 0 AND last_sequence <= 9223372036854775807), 
	CONSTRAINT ck_sessions_input_tokens CHECK (input_tokens >= 0 AND input_tokens <= 9223372036854775807), 
	CONSTRAINT ck_sessions_output_tokens CHECK (output_tokens >= 0 AND output_tokens <= 9223372036854775807)
);
INSERT INTO "sessions" VALUES('01HZX3V9QK2M4N5P6R7S8T9VWX','default','ann','{"channel":"mail"}',3,15,4,'2026-03-01 09:30:00.123456','2026-03-01 12:00:00.000000','Parcel',NULL,'01HZX3V9QK2M4N5P6R7S8T9VWZ',2,NULL,10,0,2,12000,NULL,NULL,NULL);
INSERT INTO "sessions" VALUES('01HZX3V9QK2M4N5P6R7S8T9VWY','acme',NULL,'{}',0,0,0,'2026-03-01 09:30:00.123456','2026-03-01 12:00:00.000000',NULL,NULL,NULL,1,NULL,0,0,0,NULL,'01HZX3V9QK2M4N5P6R7S8T9VWX','5555555555555555555555555555555555555555555555555555555555555555','{"mood":"calm"}');
CREATE TABLE token_usage (
	session_id VARCHAR(26) NOT NULL, 
	usage_id VARCHAR(26) NOT NULL, 
	message_id VARCHAR(26), 
	actor_name VARCHAR(255), 
	namespace VARCHAR(255) NOT NULL, 
	model VARCHAR(255), 
	input_tokens BIGINT, 
	output_tokens BIGINT, 
	cached_input_tokens BIGINT, 
	cache_write_tokens BIGINT, 
	reasoning_tokens BIGINT, 
	cost BIGINT, 
	imported BOOLEAN DEFAULT 0 NOT NULL, 
	recorded_at DATETIME NOT NULL, unknown_fields TEXT, 
	CONSTRAINT pk_token_usage PRIMARY KEY (session_id, usage_id)
);
INSERT INTO "token_usage" VALUES('01HZX3V9QK2M4N5P6R7S8T9VWX','01HZX3V9QK2M4N5P6R7S8T9VW1','01HZX3V9QK2M4N5P6R7S8T9VW2','ann','default','small',12,4,10,NULL,NULL,12000,0,'2026-03-01 12:00:00.000000',NULL);
INSERT INTO "token_usage" VALUES('01HZX3V9QK2M4N5P6R7S8T9VWX','01HZX3V9QK2M4N5P6R7S8T9VW5',NULL,'ann','default','large',3,0,NULL,NULL,2,NULL,0,'2026-03-01 12:00:00.000000','{"tier":1}');
CREATE INDEX ix_resources_namespace_kind_name ON resources (namespace, kind, name);
CREATE INDEX ix_sessions_created_at ON sessions (created_at);
CREATE INDEX ix_sessions_actor_name ON sessions (actor_name);
CREATE UNIQUE INDEX ix_session_messages_session_id_sequence ON session_messages (session_id, sequence);
CREATE INDEX ix_token_usage_namespace_recorded_at ON token_usage (namespace, recorded_at);
CREATE INDEX ix_sessions_namespace_created_at_session_id ON sessions (namespace, created_at, session_id);
CREATE INDEX ix_sessions_namespace_actor_name_created_at_session_id ON sessions (namespace, actor_name, created_at, session_id);
CREATE INDEX ix_sessions_namespace_workspace_created_at_session_id ON sessions (namespace, workspace, created_at, session_id);
COMMIT;
