-- How many programs somebody has registered is held against a quota.
CREATE INDEX programs_by_owner ON programs (owner);
