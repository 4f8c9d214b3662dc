-- Columns are BIGINT, TEXT or BLOB only; the tenant leads every key. Times are milliseconds since 1970.

CREATE TABLE tenant (
    tenant   TEXT NOT NULL PRIMARY KEY,
    verifier TEXT NOT NULL              -- the log's key, as `name+hash+base64`
) WITHOUT ROWID;

-- The tree's edge is not kept: it is read back from stored_hash.
CREATE TABLE head (
    tenant     TEXT   NOT NULL PRIMARY KEY REFERENCES tenant (tenant),
    size       BIGINT NOT NULL,
    root       BLOB   NOT NULL,
    checkpoint TEXT,                    -- signed note; absent before the first leaf
    time       BIGINT NOT NULL          -- the newest leaf's; no later leaf has an earlier one
) WITHOUT ROWID;

CREATE TABLE leaf (
    tenant  TEXT   NOT NULL REFERENCES tenant (tenant),
    idx     BIGINT NOT NULL,
    entry   BLOB   NOT NULL,            -- names the entry across an uncertain commit
    granted BIGINT NOT NULL,
    time    BIGINT NOT NULL,            -- seconds, as in the leaf
    leaf    BLOB   NOT NULL,
    PRIMARY KEY (tenant, idx),
    UNIQUE (tenant, entry)
);

-- A row may be erased (GDPR, article 17); no proof breaks.
CREATE TABLE disclosure (
    tenant   TEXT   NOT NULL,
    leaf     BIGINT NOT NULL,
    position BIGINT NOT NULL,
    encoded  TEXT   NOT NULL,
    name     TEXT   NOT NULL,           -- decoded from `encoded`, for the search
    value    TEXT   NOT NULL,           -- the same, cut short; empty for values that hardly ever come twice
    PRIMARY KEY (tenant, leaf, position)
) WITHOUT ROWID;
CREATE INDEX disclosure_value ON disclosure (tenant, name, value, leaf);

CREATE TABLE stored_hash (
    tenant TEXT   NOT NULL,
    idx    BIGINT NOT NULL,
    hash   BLOB   NOT NULL,
    PRIMARY KEY (tenant, idx)
) WITHOUT ROWID;

CREATE TABLE node (
    tenant        TEXT   NOT NULL REFERENCES tenant (tenant),
    name          TEXT   NOT NULL,
    epoch         BIGINT NOT NULL,
    attestor      TEXT   NOT NULL,
    ek            TEXT,
    ak_public     BLOB   NOT NULL,
    node_key_spki BLOB   NOT NULL,
    node_key_name BLOB   NOT NULL,
    statement_key TEXT   NOT NULL,
    hpke_suite    TEXT   NOT NULL,
    hpke_key      BLOB   NOT NULL,
    boot          TEXT,
    reset_count   BIGINT NOT NULL,
    attested_at   BIGINT NOT NULL,
    quoted_at     BIGINT,
    not_after     BIGINT NOT NULL,
    banned        BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE token (
    tenant    TEXT   NOT NULL REFERENCES tenant (tenant),
    hash      TEXT   NOT NULL,
    node      TEXT   NOT NULL,
    not_after BIGINT NOT NULL,
    used      BIGINT NOT NULL,
    PRIMARY KEY (tenant, hash)
);

CREATE TABLE lease (
    tenant     TEXT   NOT NULL REFERENCES tenant (tenant),
    id         TEXT   NOT NULL,
    leaf       BIGINT NOT NULL,
    credential TEXT   NOT NULL,
    dataset    TEXT   NOT NULL,
    db         TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    node       TEXT   NOT NULL,
    node_epoch BIGINT NOT NULL,
    image      TEXT,
    expires    BIGINT NOT NULL,
    verifier   TEXT   NOT NULL,
    outcome    TEXT,                    -- absent while pending
    made       BIGINT NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, leaf)
);
CREATE INDEX lease_node ON lease (tenant, node);
-- What has ended is kept and never looked through again.
CREATE INDEX lease_live ON lease (tenant, leaf) WHERE outcome IS NULL OR outcome <> 'ended';

CREATE TABLE serial (
    tenant    TEXT   NOT NULL REFERENCES tenant (tenant),
    serial    TEXT   NOT NULL,
    leaf      BIGINT NOT NULL,
    subject   TEXT   NOT NULL,
    node      TEXT   NOT NULL,
    not_after BIGINT NOT NULL,
    PRIMARY KEY (tenant, serial)
);

CREATE TABLE secret (
    tenant  TEXT   NOT NULL REFERENCES tenant (tenant),
    name    TEXT   NOT NULL,
    version BIGINT NOT NULL,
    leaf    BIGINT NOT NULL,
    dataset TEXT   NOT NULL,
    suite   TEXT   NOT NULL,
    key_id  TEXT   NOT NULL,
    enc     BLOB   NOT NULL,
    ct      BLOB   NOT NULL,
    put_by  TEXT   NOT NULL,
    PRIMARY KEY (tenant, name, version)
);

CREATE TABLE estate (
    tenant     TEXT   NOT NULL REFERENCES tenant (tenant),
    version    BIGINT NOT NULL,
    leaf       BIGINT NOT NULL,
    hash       TEXT   NOT NULL,
    files      TEXT   NOT NULL,
    change     TEXT   NOT NULL,
    applied_by TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (tenant, version)
);

CREATE TABLE wrapped_key (
    tenant    TEXT   NOT NULL REFERENCES tenant (tenant),
    purpose   TEXT   NOT NULL,
    name      TEXT   NOT NULL,
    algorithm TEXT   NOT NULL,
    public    BLOB   NOT NULL,
    wrapped   BLOB   NOT NULL,
    created   BIGINT NOT NULL,
    PRIMARY KEY (tenant, purpose, name)
);
