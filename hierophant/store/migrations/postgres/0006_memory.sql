-- Which memory an attempt ran out of (main, gpu), and how many bytes of it there were, if that is known: the
-- job is not given to a machine with less.
ALTER TABLE attempts ADD COLUMN short_of TEXT;
ALTER TABLE attempts ADD COLUMN short_bytes BIGINT;
