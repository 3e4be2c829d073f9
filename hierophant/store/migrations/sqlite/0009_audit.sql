-- What operators have done, and what a known one was refused.
CREATE TABLE audit (
  id             BLOB PRIMARY KEY,
  at             INTEGER NOT NULL,
  token          TEXT,
  name           TEXT,
  peer           TEXT NOT NULL,
  forwarded      TEXT,
  program        TEXT NOT NULL,
  action         TEXT NOT NULL,
  body           TEXT NOT NULL,
  code           INTEGER NOT NULL
) STRICT;

CREATE INDEX audit_by_time ON audit (at, id);
