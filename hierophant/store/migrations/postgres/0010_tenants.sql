-- A token of role client may be bound to a client of the configuration, by its name. What is requested with such a
-- token stores the name; of everything else the address decides to which client it belongs.
ALTER TABLE tokens ADD COLUMN client TEXT;
ALTER TABLE artifacts ADD COLUMN client TEXT;
ALTER TABLE programs ADD COLUMN client TEXT;
ALTER TABLE requests ADD COLUMN client TEXT;
-- The token with which a request was made.
ALTER TABLE requests ADD COLUMN token BYTEA;
-- Digest of the public values that the client has stated in advance.
ALTER TABLE requests ADD COLUMN stated_digest BYTEA;
-- What is known about a program's upload: claimed, refuted by a worker, or confirmed by an accepted proof.
ALTER TABLE programs ADD COLUMN state TEXT NOT NULL DEFAULT 'claimed';

-- Programs that were proved before have been confirmed.
UPDATE programs SET state = 'confirmed' WHERE EXISTS (
  SELECT 1 FROM jobs WHERE jobs.vk_hash = programs.vk_hash AND jobs.program = programs.artifact AND jobs.state = 'proved'
);

CREATE INDEX requests_by_client ON requests (client, created_at) WHERE client IS NOT NULL;
