-- An operator's word on a job's priority; NULL where there is none.
ALTER TABLE jobs ADD COLUMN priority TEXT;

-- What operators have set for longer than Hierophant runs: dispatch that is paused, Contemplants that are
-- blocked or drained.
CREATE TABLE settings (
  kind           TEXT NOT NULL,
  subject        TEXT NOT NULL,
  reason         TEXT NOT NULL,
  since          INTEGER NOT NULL,
  PRIMARY KEY (kind, subject)
) STRICT;
