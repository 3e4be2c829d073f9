-- When an artifact is looked at next: the limit that decides, and the time that it is compared with. Artifacts of
-- earlier versions are looked at in the first sweep.
ALTER TABLE artifacts ADD COLUMN due_rule TEXT NOT NULL DEFAULT 'look';
ALTER TABLE artifacts ADD COLUMN due_since BIGINT NOT NULL DEFAULT 0;
UPDATE artifacts SET due_rule = 'expired', due_since = expired_at
  WHERE expired_at IS NOT NULL AND removed_at IS NULL;
DROP INDEX artifacts_kept;
CREATE INDEX artifacts_due ON artifacts (due_rule, due_since, id) WHERE removed_at IS NULL;
