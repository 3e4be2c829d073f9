-- What operators have done, and what a known one was refused.
CREATE TABLE audit (
  id             BYTEA PRIMARY KEY,
  at             BIGINT NOT NULL,
  token          TEXT,
  name           TEXT,
  peer           TEXT NOT NULL,
  forwarded      TEXT,
  program        TEXT NOT NULL,
  action         TEXT NOT NULL,
  body           TEXT NOT NULL,
  code           BIGINT NOT NULL
);

CREATE INDEX audit_by_time ON audit (at, id);
