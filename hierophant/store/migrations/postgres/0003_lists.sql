-- Lists of jobs and of a Contemplant's attempts are read page by page, the newest first.
CREATE INDEX jobs_by_creation ON jobs (created_at, id);
CREATE INDEX attempts_by_worker ON attempts (worker, started_at);
