-- Ends of requests of which a receiver of webhooks is still to hear.
CREATE TABLE notices (
  id             BYTEA PRIMARY KEY,
  receiver       BYTEA NOT NULL,
  request        BYTEA NOT NULL,
  state          TEXT NOT NULL,
  ended_at       BIGINT NOT NULL,
  attempts       BIGINT NOT NULL,
  next_at        BIGINT NOT NULL
);

CREATE INDEX notices_by_turn ON notices (receiver, next_at);
