-- Number of the last transaction. After a broken connection the writer compares it with the last one that was
-- confirmed: a database that is behind has lost it.
ALTER TABLE writer ADD COLUMN committed BIGINT NOT NULL DEFAULT 0;
