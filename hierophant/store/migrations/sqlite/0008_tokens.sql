-- Access tokens. Only the SHA-256 of a secret is kept. Of the tokens that are not revoked each has another name.
CREATE TABLE tokens (
  id             BLOB PRIMARY KEY,
  name           TEXT NOT NULL,
  role           TEXT NOT NULL,
  digest         BLOB NOT NULL UNIQUE,
  created_at     INTEGER NOT NULL,
  revoked_at     INTEGER
) STRICT;

CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked_at IS NULL;
