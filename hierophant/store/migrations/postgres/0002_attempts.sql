-- Two attempts at one job may go on at once, so what was a job's is an attempt's: when its worker first
-- said a word, and what its execution found.
ALTER TABLE attempts ADD COLUMN begun_at BIGINT;
ALTER TABLE attempts ADD COLUMN cycles BIGINT;
ALTER TABLE attempts ADD COLUMN gas BIGINT;
ALTER TABLE attempts ADD COLUMN public_values_hash BYTEA;

-- Until now only one attempt at a job went on: the job's word is its own.
UPDATE attempts SET
  cycles = (SELECT j.cycles FROM jobs j WHERE j.id = attempts.job),
  gas = (SELECT j.gas FROM jobs j WHERE j.id = attempts.job),
  public_values_hash = (SELECT j.public_values_hash FROM jobs j WHERE j.id = attempts.job)
  WHERE outcome IN ('running', 'lost');
UPDATE attempts SET begun_at = started_at
  WHERE outcome = 'running' AND job IN (SELECT j.id FROM jobs j WHERE j.state <> 'leased');

-- Strikes are counted anew at each start.
CREATE INDEX attempts_by_blame ON attempts (ended_at)
  WHERE outcome = 'failed' AND failure_class = 'worker';
