-- Records of removed artifacts are deleted by age.
CREATE INDEX artifacts_removed ON artifacts (removed_at) WHERE removed_at IS NOT NULL;
