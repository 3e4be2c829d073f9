-- Ends of requests of which a receiver of webhooks is still to hear.
CREATE TABLE notices (
  id             BLOB PRIMARY KEY,
  receiver       BLOB NOT NULL,
  request        BLOB NOT NULL,
  state          TEXT NOT NULL,
  ended_at       INTEGER NOT NULL,
  attempts       INTEGER NOT NULL,
  next_at        INTEGER NOT NULL
) STRICT;

CREATE INDEX notices_by_turn ON notices (receiver, next_at);
