-- Changes: what was submitted, who signed it, what became of it. A version from before this migration has no record, and a
-- server does not load it: nobody signed it.

CREATE TABLE change (
    tenant       TEXT   NOT NULL REFERENCES tenant (tenant),
    number       BIGINT NOT NULL,
    leaf         BIGINT NOT NULL,       -- announced it
    hash         TEXT   NOT NULL,       -- what is signed
    record       TEXT   NOT NULL,       -- JSON, with the signatures so far
    files        TEXT   NOT NULL,       -- of the estate that it leads to; empty once a version holds them
    submitted_by TEXT   NOT NULL,
    at           BIGINT NOT NULL,
    expires      BIGINT NOT NULL,
    state        TEXT   NOT NULL,       -- waiting, applied, rejected, void; that it expired is told by the clock
    version      BIGINT,                -- the version that it brought
    PRIMARY KEY (tenant, number)
);
CREATE INDEX change_waiting ON change (tenant, number) WHERE state = 'waiting';

ALTER TABLE estate ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE estate ADD COLUMN record TEXT NOT NULL DEFAULT '';
