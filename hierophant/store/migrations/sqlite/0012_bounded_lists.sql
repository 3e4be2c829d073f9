-- Jobs and requests that ended without a proof are few: a list of them must not walk all others.
CREATE INDEX jobs_unproved ON jobs (state, created_at, id)
  WHERE state IN ('unexecutable', 'failed', 'cancelled', 'expired');
CREATE INDEX requests_unfulfilled ON requests (state, created_at, id)
  WHERE state IN ('unexecutable', 'failed', 'cancelled', 'expired');

-- Lists show the oldest requests of a job, of which there may be any number.
DROP INDEX requests_by_job;
CREATE INDEX requests_by_job ON requests (job, created_at);

-- Lists of artifacts are read page by page, the newest first.
CREATE INDEX artifacts_by_creation ON artifacts (created_at, id);
