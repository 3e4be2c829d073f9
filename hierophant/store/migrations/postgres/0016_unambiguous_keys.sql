-- Plans of look-ups and writes by key are kept. For a table of one row an index that has the key as its second column
-- costs as much as the key's own index, so such a plan could use it for ever: each key belongs to one index only. Pages
-- of equal times are sorted when they are read.
DROP INDEX artifacts_by_creation;
CREATE INDEX artifacts_by_creation ON artifacts (created_at);
DROP INDEX jobs_by_creation;
CREATE INDEX jobs_by_creation ON jobs (created_at);
DROP INDEX audit_by_time;
CREATE INDEX audit_by_time ON audit (at);
