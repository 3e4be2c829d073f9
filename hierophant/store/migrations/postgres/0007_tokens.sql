-- Access tokens. Only the SHA-256 of a secret is kept. Of the tokens that are not revoked each has another name.
CREATE TABLE tokens (
  id             BYTEA PRIMARY KEY,
  name           TEXT NOT NULL,
  role           TEXT NOT NULL,
  digest         BYTEA NOT NULL UNIQUE,
  created_at     BIGINT NOT NULL,
  revoked_at     BIGINT
);

CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked_at IS NULL;
