-- Proofs that are made as tasks of many workers: how each job is divided, and its tasks. `ended_at` is the end of the
-- division, with the job's or because the job is proved as a whole; the rows are kept for a while after it.
CREATE TABLE shardings (
  job                  BYTEA PRIMARY KEY,
  mode                 BIGINT NOT NULL,
  engine               TEXT NOT NULL,
  max_elements         BIGINT NOT NULL,
  common_size          BIGINT,
  common_sha256        BYTEA,
  public_values_size   BIGINT,
  public_values_sha256 BYTEA,
  executed_at          BIGINT,
  restarts             BIGINT NOT NULL,
  created_at           BIGINT NOT NULL,
  ended_at             BIGINT
);

CREATE INDEX shardings_ended ON shardings (ended_at) WHERE ended_at IS NOT NULL;

-- `range` holds twelve numbers, big-endian; `children` the ids of tasks one after the other; `named` and `deferred` are
-- JSON. No two tasks of a job have the same key.
CREATE TABLE tasks (
  id                   BYTEA PRIMARY KEY,
  job                  BYTEA NOT NULL,
  key                  BYTEA NOT NULL,
  kind                 TEXT NOT NULL,
  shard                TEXT,
  range                BYTEA,
  record_size          BIGINT,
  record_sha256        BYTEA,
  named                TEXT NOT NULL,
  children             BYTEA NOT NULL,
  complete             BIGINT NOT NULL,
  state                TEXT NOT NULL,
  output_size          BIGINT,
  output_sha256        BYTEA,
  deferred             TEXT,
  failures             BIGINT NOT NULL,
  maker                BYTEA,
  created_at           BIGINT NOT NULL,
  ended_at             BIGINT
);

CREATE UNIQUE INDEX tasks_by_key ON tasks (job, key);

-- An attempt is at a whole job, or at one of its tasks.
ALTER TABLE attempts ADD COLUMN task BYTEA;
ALTER TABLE attempts ADD COLUMN task_kind TEXT;
