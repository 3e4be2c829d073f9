-- Times are milliseconds of the Unix clock. 64-bit unsigned numbers that clients choose (limits,
-- deadlines) are stored with their bits unchanged in signed columns and never compared in SQL, except
-- `deadline`, which is capped at the largest signed value.

CREATE TABLE programs (
  vk_hash        BLOB PRIMARY KEY,
  vk             BLOB NOT NULL,
  artifact       BLOB NOT NULL,
  size           INTEGER NOT NULL,
  sha256         BLOB NOT NULL,
  owner          BLOB NOT NULL,
  created_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE artifacts (
  id             BLOB PRIMARY KEY,
  kind           TEXT NOT NULL,
  owner          BLOB NOT NULL,
  size           INTEGER,
  sha256         BLOB,
  created_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE jobs (
  id             BLOB PRIMARY KEY,
  key            BLOB NOT NULL,
  vk_hash        BLOB NOT NULL,
  circuit_version TEXT NOT NULL,
  mode           INTEGER NOT NULL,
  cycle_limit    INTEGER NOT NULL,
  gas_limit      INTEGER NOT NULL,
  program        BLOB NOT NULL,
  program_size   INTEGER NOT NULL,
  program_sha256 BLOB NOT NULL,
  stdin          BLOB NOT NULL,
  stdin_size     INTEGER NOT NULL,
  stdin_sha256   BLOB NOT NULL,
  state          TEXT NOT NULL,
  cycles         INTEGER,
  gas            INTEGER,
  public_values_hash BLOB,
  failure        TEXT,
  failure_cause  INTEGER NOT NULL DEFAULT 0,
  failure_class  TEXT,
  proof          BLOB,
  worker         BLOB,
  worker_name    TEXT,
  worker_backend TEXT,
  attempts       INTEGER NOT NULL,
  created_at     INTEGER NOT NULL,
  updated_at     INTEGER NOT NULL,
  started_at     INTEGER,
  finished_at    INTEGER
) STRICT;

CREATE INDEX jobs_by_key ON jobs (key, state);
CREATE INDEX jobs_unfinished ON jobs (state)
  WHERE state IN ('queued', 'leased', 'proving', 'uploaded', 'verifying');
CREATE INDEX jobs_by_end ON jobs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE requests (
  id             BLOB PRIMARY KEY,
  idempotency_key BLOB NOT NULL UNIQUE,
  job            BLOB NOT NULL,
  requester      BLOB NOT NULL,
  network_mode   TEXT NOT NULL,
  strategy       INTEGER NOT NULL,
  version        TEXT NOT NULL,
  stdin_uri      TEXT NOT NULL,
  stdin_private  INTEGER NOT NULL,
  deadline       INTEGER NOT NULL,
  min_auction_period INTEGER NOT NULL,
  whitelist      BLOB NOT NULL,
  state          TEXT NOT NULL,
  created_at     INTEGER NOT NULL,
  updated_at     INTEGER NOT NULL,
  fulfilled_at   INTEGER
) STRICT;

CREATE INDEX requests_by_job ON requests (job);
CREATE INDEX requests_by_creation ON requests (created_at);
CREATE INDEX requests_by_requester ON requests (requester, created_at);

CREATE TABLE attempts (
  lease          BLOB PRIMARY KEY,
  job            BLOB NOT NULL,
  worker         BLOB NOT NULL,
  worker_name    TEXT NOT NULL,
  worker_backend TEXT NOT NULL,
  started_at     INTEGER NOT NULL,
  ended_at       INTEGER,
  outcome        TEXT NOT NULL,
  failure_class  TEXT,
  message        TEXT,
  proof          BLOB,
  proof_size     INTEGER,
  proof_sha256   BLOB
) STRICT;

CREATE INDEX attempts_by_job ON attempts (job);

CREATE TABLE accounts (
  address        BLOB PRIMARY KEY,
  nonce          INTEGER NOT NULL
) STRICT;
