-- What became of an artifact: last fetched whole, not promised any more, and its bytes gone. The record
-- stays behind as a tombstone.
ALTER TABLE artifacts ADD COLUMN delivered_at INTEGER;
ALTER TABLE artifacts ADD COLUMN expired_at INTEGER;
ALTER TABLE artifacts ADD COLUMN removed_at INTEGER;

CREATE INDEX artifacts_kept ON artifacts (kind, created_at) WHERE removed_at IS NULL;
CREATE INDEX jobs_by_stdin ON jobs (stdin);
CREATE INDEX jobs_by_program ON jobs (program) WHERE finished_at IS NULL;
CREATE INDEX jobs_by_proof ON jobs (proof) WHERE proof IS NOT NULL;
CREATE INDEX attempts_by_proof ON attempts (proof) WHERE proof IS NOT NULL;
CREATE INDEX programs_by_artifact ON programs (artifact);

-- The history is read page by page, from the latest end on.
DROP INDEX jobs_by_end;
CREATE INDEX jobs_by_end ON jobs (finished_at, id) WHERE finished_at IS NOT NULL;
