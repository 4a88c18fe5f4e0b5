CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, oldest_code VARCHAR(32),
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE audit_logs (
	id CHAR(32) NOT NULL,
	user TEXT NOT NULL,
	action VARCHAR(100) NOT NULL,
	object_type VARCHAR(50) NOT NULL,
	object_id VARCHAR(200) NOT NULL,
	outcome VARCHAR(16) NOT NULL,
	address VARCHAR(64) NOT NULL,
	meta JSON NOT NULL,
	timestamp DATETIME NOT NULL,
	CONSTRAINT pk_audit_logs PRIMARY KEY (id)
);

CREATE TABLE duties (
	name VARCHAR(50) NOT NULL,
	due_at DATETIME NOT NULL,
	CONSTRAINT pk_duties PRIMARY KEY (name)
);

CREATE TABLE host_keys (
	platform_id CHAR(32) NOT NULL,
	fingerprint VARCHAR(80) NOT NULL,
	algorithm VARCHAR(64) NOT NULL,
	public_key TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_host_keys PRIMARY KEY (platform_id, fingerprint),
	CONSTRAINT fk_host_keys_platform_id_platforms FOREIGN KEY(platform_id) REFERENCES platforms (id) ON DELETE CASCADE
);

CREATE TABLE idempotency_keys (
	user_id CHAR(32) NOT NULL,
	"key" VARCHAR(255) NOT NULL,
	fingerprint VARCHAR(64) NOT NULL,
	job_id CHAR(32) NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_idempotency_keys PRIMARY KEY (user_id, "key"),
	CONSTRAINT fk_idempotency_keys_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE TABLE installation (
	number INTEGER NOT NULL,
	id CHAR(32) NOT NULL,
	key_check TEXT,
	CONSTRAINT pk_installation PRIMARY KEY (number),
	CONSTRAINT uq_installation_id UNIQUE (id)
);

CREATE TABLE jobs (
	id CHAR(32) NOT NULL,
	type VARCHAR(32) NOT NULL,
	status VARCHAR(16) NOT NULL,
	targets JSON NOT NULL,
	parameters JSON NOT NULL,
	sealed_environment TEXT,
	sealed_for CHAR(32),
	timeout DOUBLE,
	idle_timeout DOUBLE,
	concurrency INTEGER NOT NULL,
	task_count INTEGER NOT NULL,
	rerun_of CHAR(32),
	created_by VARCHAR(150) NOT NULL,
	created_at DATETIME NOT NULL,
	started_at DATETIME,
	finished_at DATETIME,
	cancel_requested_at DATETIME,
	cancel_requested_by VARCHAR(150), position BIGINT DEFAULT '0' NOT NULL, final_counts JSON, began_steady_at DATETIME, duration_seconds DOUBLE,
	CONSTRAINT pk_jobs PRIMARY KEY (id),
	CONSTRAINT fk_jobs_rerun_of_jobs FOREIGN KEY(rerun_of) REFERENCES jobs (id) ON DELETE SET NULL
);

CREATE TABLE logins (
	id CHAR(32) NOT NULL,
	user_id CHAR(32) NOT NULL,
	refresh_hash VARCHAR(64) NOT NULL,
	address VARCHAR(64) NOT NULL,
	client VARCHAR(200) NOT NULL,
	created_at DATETIME NOT NULL,
	expires_at DATETIME NOT NULL,
	revoked_at DATETIME,
	CONSTRAINT pk_logins PRIMARY KEY (id),
	CONSTRAINT fk_logins_user_id_users FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
	CONSTRAINT uq_logins_refresh_hash UNIQUE (refresh_hash)
);

CREATE TABLE output_segments (
	task_id CHAR(32) NOT NULL,
	start BIGINT NOT NULL,
	size BIGINT NOT NULL,
	frames INTEGER NOT NULL,
	payload BIGINT NOT NULL,
	job_id CHAR(32) NOT NULL,
	last_position BIGINT NOT NULL,
	data BLOB,
	object_key VARCHAR(300),
	CONSTRAINT pk_output_segments PRIMARY KEY (task_id, start),
	CONSTRAINT fk_output_segments_task_id_task_runs FOREIGN KEY(task_id) REFERENCES task_runs (id) ON DELETE CASCADE
);

CREATE TABLE platform_tags (
	platform_id CHAR(32) NOT NULL,
	tag VARCHAR(100) NOT NULL,
	CONSTRAINT pk_platform_tags PRIMARY KEY (platform_id, tag),
	CONSTRAINT fk_platform_tags_platform_id_platforms FOREIGN KEY(platform_id) REFERENCES platforms (id) ON DELETE CASCADE
);

CREATE TABLE platforms (
	id CHAR(32) NOT NULL,
	name VARCHAR(200) NOT NULL,
	host VARCHAR(255) NOT NULL,
	port INTEGER NOT NULL,
	username VARCHAR(150) NOT NULL,
	auth_method VARCHAR(16) NOT NULL,
	encrypted_password TEXT,
	encrypted_private_key TEXT,
	encrypted_passphrase TEXT,
	key_id CHAR(32),
	jump_platform_id CHAR(32),
	known_host_fingerprint VARCHAR(80),
	host_key_policy VARCHAR(16),
	shell VARCHAR(16) NOT NULL,
	description TEXT NOT NULL,
	facts JSON,
	facts_at DATETIME,
	revision INTEGER NOT NULL,
	created_by VARCHAR(150) NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL, zone VARCHAR(63) DEFAULT 'default' NOT NULL, state VARCHAR(24) DEFAULT 'unknown' NOT NULL, state_at DATETIME, old_algorithms VARCHAR(400) DEFAULT '' NOT NULL,
	CONSTRAINT pk_platforms PRIMARY KEY (id),
	CONSTRAINT fk_platforms_jump_platform_id_platforms FOREIGN KEY(jump_platform_id) REFERENCES platforms (id) ON DELETE RESTRICT,
	CONSTRAINT fk_platforms_key_id_ssh_keys FOREIGN KEY(key_id) REFERENCES ssh_keys (id) ON DELETE RESTRICT,
	CONSTRAINT uq_platforms_name UNIQUE (name)
);

CREATE TABLE selection_platforms (
	selection_id CHAR(32) NOT NULL,
	platform_id CHAR(32) NOT NULL,
	platform_name VARCHAR(200) NOT NULL,
	CONSTRAINT pk_selection_platforms PRIMARY KEY (selection_id, platform_id),
	CONSTRAINT fk_selection_platforms_selection_id_selections FOREIGN KEY(selection_id) REFERENCES selections (id) ON DELETE CASCADE
);

CREATE TABLE selections (
	id CHAR(32) NOT NULL,
	name VARCHAR(200) NOT NULL,
	criteria JSON NOT NULL,
	picked INTEGER NOT NULL,
	revision INTEGER NOT NULL,
	created_by VARCHAR(150) NOT NULL,
	created_at DATETIME NOT NULL,
	updated_by VARCHAR(150) NOT NULL,
	updated_at DATETIME NOT NULL,
	CONSTRAINT pk_selections PRIMARY KEY (id),
	CONSTRAINT uq_selections_name UNIQUE (name)
);

CREATE TABLE ssh_keys (
	id CHAR(32) NOT NULL,
	name VARCHAR(200) NOT NULL,
	public_key TEXT NOT NULL,
	fingerprint VARCHAR(80) NOT NULL,
	algorithm VARCHAR(64) NOT NULL,
	encrypted_private_key TEXT,
	encrypted_passphrase TEXT,
	created_by VARCHAR(150) NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_ssh_keys PRIMARY KEY (id),
	CONSTRAINT uq_ssh_keys_name UNIQUE (name)
);

CREATE TABLE task_outputs (
	task_id CHAR(32) NOT NULL,
	frames BLOB NOT NULL,
	CONSTRAINT pk_task_outputs PRIMARY KEY (task_id),
	CONSTRAINT fk_task_outputs_task_id_task_runs FOREIGN KEY(task_id) REFERENCES task_runs (id) ON DELETE CASCADE
);

CREATE TABLE task_runs (
	id CHAR(32) NOT NULL,
	celery_task_id VARCHAR(64),
	job_id CHAR(32) NOT NULL,
	ordinal INTEGER NOT NULL,
	type VARCHAR(32) NOT NULL,
	platform_id CHAR(32) NOT NULL,
	platform_name VARCHAR(200) NOT NULL,
	platform_address VARCHAR(420) NOT NULL,
	status VARCHAR(16) NOT NULL,
	exit_code INTEGER,
	exit_signal VARCHAR(32),
	result_location VARCHAR(300),
	stdout TEXT,
	stderr TEXT,
	output_frames INTEGER NOT NULL,
	output_bytes BIGINT NOT NULL,
	error_code VARCHAR(32),
	error_message TEXT,
	metadata JSON NOT NULL,
	worker_id VARCHAR(100),
	fence INTEGER NOT NULL,
	lease_expires_at DATETIME,
	started_position BIGINT,
	finished_position BIGINT,
	started_at DATETIME,
	finished_at DATETIME,
	created_at DATETIME NOT NULL, zone VARCHAR(63) DEFAULT 'default' NOT NULL, output_expired_at DATETIME, unsent BOOLEAN DEFAULT 0 NOT NULL, may_still_run BOOLEAN DEFAULT 0 NOT NULL, to_be_ended BOOLEAN DEFAULT 0 NOT NULL, look_at DATETIME, boot_id VARCHAR(64), duration_seconds DOUBLE,
	CONSTRAINT pk_task_runs PRIMARY KEY (id),
	CONSTRAINT fk_task_runs_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE TABLE users (
	id CHAR(32) NOT NULL,
	username VARCHAR(150) NOT NULL,
	username_key VARCHAR(300) NOT NULL,
	password_hash VARCHAR(255) NOT NULL,
	role VARCHAR(16) NOT NULL,
	must_change_password BOOLEAN NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_users PRIMARY KEY (id),
	CONSTRAINT uq_users_username_key UNIQUE (username_key)
);

CREATE TABLE workers (
	id VARCHAR(100) NOT NULL,
	zones JSON NOT NULL,
	version VARCHAR(50) NOT NULL,
	started_at DATETIME NOT NULL,
	seen_at DATETIME NOT NULL,
	CONSTRAINT pk_workers PRIMARY KEY (id)
);

CREATE INDEX ix_audit_logs_object ON audit_logs (object_type, object_id, timestamp, id);

CREATE INDEX ix_audit_logs_timestamp ON audit_logs (timestamp, id);

CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);

CREATE INDEX ix_jobs_created ON jobs (created_at, id);

CREATE INDEX ix_jobs_status ON jobs (status, id);

CREATE INDEX ix_logins_user_id ON logins (user_id);

CREATE INDEX ix_output_segments_in_rows ON output_segments (task_id) WHERE data IS NOT NULL;

CREATE INDEX ix_output_segments_job ON output_segments (job_id, last_position);

CREATE INDEX ix_platform_tags_tag ON platform_tags (tag, platform_id);

CREATE INDEX ix_platforms_jump_platform_id ON platforms (jump_platform_id);

CREATE INDEX ix_platforms_key_id ON platforms (key_id);

CREATE INDEX ix_platforms_state ON platforms (state, name);

CREATE INDEX ix_ssh_keys_fingerprint ON ssh_keys (fingerprint);

CREATE INDEX ix_task_runs_error_code ON task_runs (error_code);

CREATE INDEX ix_task_runs_finished ON task_runs (job_id, finished_position);

CREATE INDEX ix_task_runs_job ON task_runs (job_id, status, ordinal);

CREATE INDEX ix_task_runs_look ON task_runs (look_at) WHERE look_at IS NOT NULL;

CREATE INDEX ix_task_runs_ordinal ON task_runs (job_id, ordinal);

CREATE INDEX ix_task_runs_outcome ON task_runs (status, finished_at) WHERE finished_at IS NOT NULL;

CREATE INDEX ix_task_runs_output_kept ON task_runs (finished_at) WHERE output_expired_at IS NULL AND output_bytes > 0;

CREATE INDEX ix_task_runs_platform ON task_runs (platform_id, id);

CREATE INDEX ix_task_runs_remaining ON task_runs (job_id) WHERE may_still_run;

CREATE INDEX ix_task_runs_started ON task_runs (job_id, started_position);

CREATE INDEX ix_task_runs_status ON task_runs (status, lease_expires_at);

INSERT INTO alembic_version (version_num, oldest_code) VALUES ('0012', '0004')
