-- A version of a secret that a person may have seen: milliseconds since 1970 of the first time.
ALTER TABLE secret ADD COLUMN exposed_at BIGINT;
CREATE INDEX secret_exposed ON secret (tenant, name) WHERE exposed_at IS NOT NULL;
