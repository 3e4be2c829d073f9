-- The same tables as in SQLite, see there. Times are milliseconds of the Unix clock. 64-bit unsigned numbers that clients choose (limits,
-- deadlines) are stored with their bits unchanged in signed columns and never compared in SQL, except
-- `deadline`, which is capped at the largest signed value.

CREATE TABLE programs (
  vk_hash        BYTEA PRIMARY KEY,
  vk             BYTEA NOT NULL,
  artifact       BYTEA NOT NULL,
  size           BIGINT NOT NULL,
  sha256         BYTEA NOT NULL,
  owner          BYTEA NOT NULL,
  created_at     BIGINT NOT NULL
);

CREATE INDEX programs_by_artifact ON programs (artifact);

CREATE TABLE artifacts (
  id             BYTEA PRIMARY KEY,
  kind           TEXT NOT NULL,
  owner          BYTEA NOT NULL,
  size           BIGINT,
  sha256         BYTEA,
  created_at     BIGINT NOT NULL,
  delivered_at   BIGINT,
  expired_at     BIGINT,
  removed_at     BIGINT
);

CREATE INDEX artifacts_kept ON artifacts (kind, created_at) WHERE removed_at IS NULL;

CREATE TABLE jobs (
  id             BYTEA PRIMARY KEY,
  key            BYTEA NOT NULL,
  vk_hash        BYTEA NOT NULL,
  circuit_version TEXT NOT NULL,
  mode           BIGINT NOT NULL,
  cycle_limit    BIGINT NOT NULL,
  gas_limit      BIGINT NOT NULL,
  program        BYTEA NOT NULL,
  program_size   BIGINT NOT NULL,
  program_sha256 BYTEA NOT NULL,
  stdin          BYTEA NOT NULL,
  stdin_size     BIGINT NOT NULL,
  stdin_sha256   BYTEA NOT NULL,
  state          TEXT NOT NULL,
  cycles         BIGINT,
  gas            BIGINT,
  public_values_hash BYTEA,
  failure        TEXT,
  failure_cause  BIGINT NOT NULL DEFAULT 0,
  failure_class  TEXT,
  proof          BYTEA,
  worker         BYTEA,
  worker_name    TEXT,
  worker_backend TEXT,
  attempts       BIGINT NOT NULL,
  created_at     BIGINT NOT NULL,
  updated_at     BIGINT NOT NULL,
  started_at     BIGINT,
  finished_at    BIGINT
);

CREATE INDEX jobs_by_key ON jobs (key, state);
CREATE INDEX jobs_unfinished ON jobs (state)
  WHERE state IN ('queued', 'leased', 'proving', 'uploaded', 'verifying');
CREATE INDEX jobs_by_end ON jobs (finished_at, id) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_by_stdin ON jobs (stdin);
CREATE INDEX jobs_by_program ON jobs (program) WHERE finished_at IS NULL;
CREATE INDEX jobs_by_proof ON jobs (proof) WHERE proof IS NOT NULL;

CREATE TABLE requests (
  id             BYTEA PRIMARY KEY,
  idempotency_key BYTEA NOT NULL UNIQUE,
  job            BYTEA NOT NULL,
  requester      BYTEA NOT NULL,
  network_mode   TEXT NOT NULL,
  strategy       BIGINT NOT NULL,
  version        TEXT NOT NULL,
  stdin_uri      TEXT NOT NULL,
  stdin_private  BIGINT NOT NULL,
  deadline       BIGINT NOT NULL,
  min_auction_period BIGINT NOT NULL,
  whitelist      BYTEA NOT NULL,
  state          TEXT NOT NULL,
  created_at     BIGINT NOT NULL,
  updated_at     BIGINT NOT NULL,
  fulfilled_at   BIGINT
);

CREATE INDEX requests_by_job ON requests (job);
CREATE INDEX requests_by_creation ON requests (created_at);
CREATE INDEX requests_by_requester ON requests (requester, created_at);

CREATE TABLE attempts (
  lease          BYTEA PRIMARY KEY,
  job            BYTEA NOT NULL,
  worker         BYTEA NOT NULL,
  worker_name    TEXT NOT NULL,
  worker_backend TEXT NOT NULL,
  started_at     BIGINT NOT NULL,
  ended_at       BIGINT,
  outcome        TEXT NOT NULL,
  failure_class  TEXT,
  message        TEXT,
  proof          BYTEA,
  proof_size     BIGINT,
  proof_sha256   BYTEA
);

CREATE INDEX attempts_by_job ON attempts (job);
CREATE INDEX attempts_by_proof ON attempts (proof) WHERE proof IS NOT NULL;

CREATE TABLE accounts (
  address        BYTEA PRIMARY KEY,
  nonce          BIGINT NOT NULL
);

-- One row: which Hierophant writes here. Whoever takes the lock draws a new number, so that one which
-- lost its connection can tell whether another has written since.
CREATE TABLE writer (
  one            BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
  number         BIGINT NOT NULL
);

INSERT INTO writer (number) VALUES (0);
