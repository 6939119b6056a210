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
CREATE TABLE sessionledger_revision (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT sessionledger_revision_pkc PRIMARY KEY (version_num)
);
INSERT INTO "sessionledger_revision" VALUES('b1_001_resource_registry');
CREATE INDEX ix_resources_namespace_kind_name ON resources (namespace, kind, name);
COMMIT;
