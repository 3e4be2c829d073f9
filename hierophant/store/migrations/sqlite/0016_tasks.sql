-- Proofs that are made as tasks of many workers: how each job is divided, and its tasks. `ended_at` is the end of the
-- division, with the job's or because the job is proved as a whole; the rows are kept for a while after it.
CREATE TABLE shardings (
  job                  BLOB PRIMARY KEY,
  mode                 INTEGER NOT NULL,
  engine               TEXT NOT NULL,
  max_elements         INTEGER NOT NULL,
  common_size          INTEGER,
  common_sha256        BLOB,
  public_values_size   INTEGER,
  public_values_sha256 BLOB,
  executed_at          INTEGER,
  restarts             INTEGER NOT NULL,
  created_at           INTEGER NOT NULL,
  ended_at             INTEGER
) STRICT;

CREATE INDEX shardings_ended ON shardings (ended_at) WHERE ended_at IS NOT NULL;

-- `range` holds twelve numbers, big-endian; `children` the ids of tasks one after the other; `named` and `deferred` are
-- JSON. No two tasks of a job have the same key.
CREATE TABLE tasks (
  id                   BLOB PRIMARY KEY,
  job                  BLOB NOT NULL,
  key                  BLOB NOT NULL,
  kind                 TEXT NOT NULL,
  shard                TEXT,
  range                BLOB,
  record_size          INTEGER,
  record_sha256        BLOB,
  named                TEXT NOT NULL,
  children             BLOB NOT NULL,
  complete             INTEGER NOT NULL,
  state                TEXT NOT NULL,
  output_size          INTEGER,
  output_sha256        BLOB,
  deferred             TEXT,
  failures             INTEGER NOT NULL,
  maker                BLOB,
  created_at           INTEGER NOT NULL,
  ended_at             INTEGER
) STRICT;

CREATE UNIQUE INDEX tasks_by_key ON tasks (job, key);

-- An attempt is at a whole job, or at one of its tasks.
ALTER TABLE attempts ADD COLUMN task BLOB;
ALTER TABLE attempts ADD COLUMN task_kind TEXT;
