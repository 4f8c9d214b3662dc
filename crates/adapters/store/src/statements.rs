//! All SQL, once. The journal's own statements speak SQLite (`json_each` writes many rows at once); the others keep to
//! `$n` and to what PostgreSQL understands, too.

macro_rules! statements {
    ($($name:ident = $sql:expr;)*) => {
        $(pub(crate) const $name: &str = $sql;)*
        /// Every statement with its name, for the test that prepares each.
        #[cfg(test)]
        const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

statements! {
    // SQLite only: the connection
    JOURNAL_MODE = "PRAGMA journal_mode";
    SYNCHRONOUS = "PRAGMA synchronous";

    // SQLite only: the journal
    BEGIN = "BEGIN IMMEDIATE";
    BEGIN_READ = "BEGIN";
    COMMIT = "COMMIT";
    ROLLBACK = "ROLLBACK";
    SAVEPOINT = "SAVEPOINT entry";
    SAVEPOINT_UNDO = "ROLLBACK TO entry";
    SAVEPOINT_END = "RELEASE entry";
    ENTRIES_KNOWN = "SELECT entry FROM leaf WHERE tenant = $1 AND entry IN (SELECT unhex(value) FROM json_each($2))";
    LEAVES_ADD = "INSERT INTO leaf (tenant, idx, entry, granted, time, leaf)
        SELECT $1, value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3, CAST(value ->> 4 AS BLOB) FROM json_each($2)";
    DISCLOSURES_ADD = "INSERT INTO disclosure (tenant, leaf, position, encoded, name, value)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each($2)";
    HASHES_ADD = "INSERT INTO stored_hash (tenant, idx, hash)
        SELECT $1, value ->> 0, unhex(value ->> 1) FROM json_each($2)";
    HASHES = "SELECT idx, hash FROM stored_hash WHERE tenant = $1 AND idx IN (SELECT value FROM json_each($2))";

    // tenant and head
    TENANT = "SELECT verifier FROM tenant WHERE tenant = $1";
    TENANT_ADD = "INSERT INTO tenant (tenant, verifier) VALUES ($1, $2)";
    HEAD = "SELECT size, root, checkpoint, time FROM head WHERE tenant = $1";
    HEAD_ADD = "INSERT INTO head (tenant, size, root, time) VALUES ($1, 0, $2, $3)";
    HEAD_MOVE = "UPDATE head SET size = $2, root = $3, checkpoint = $4, time = $5 WHERE tenant = $1 AND size = $6";
    LEAF_COUNT = "SELECT COUNT(*) AS leaves FROM leaf WHERE tenant = $1";

    // guards
    NODE_STANDING = "SELECT epoch, banned FROM node WHERE tenant = $1 AND name = $2";
    ESTATE_NEWEST = "SELECT COALESCE(MAX(version), 0) AS version FROM estate WHERE tenant = $1";
    TOKEN = "SELECT node, not_after, used FROM token WHERE tenant = $1 AND hash = $2";
    SECRET_NEWEST = "SELECT COALESCE(MAX(version), 0) AS version FROM secret WHERE tenant = $1 AND name = $2";
    CHANGE_NEWEST = "SELECT COALESCE(MAX(number), 0) AS number FROM change WHERE tenant = $1";
    CHANGE_STANDING = "SELECT record, expires FROM change WHERE tenant = $1 AND number = $2 AND state = 'waiting'";
    LEASE_OUTCOME = "SELECT outcome FROM lease WHERE tenant = $1 AND id = $2";

    // effects
    LEASE_ADD = "INSERT INTO lease (tenant, id, leaf, credential, dataset, db, role, node, node_epoch, image, expires,
        verifier, made) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    LEASE_GRANTED = "UPDATE lease SET outcome = 'granted' WHERE tenant = $1 AND id = $2 AND outcome IS NULL";
    LEASE_ENDING = "UPDATE lease SET outcome = 'ending'
        WHERE tenant = $1 AND id = $2 AND (outcome IS NULL OR outcome <> 'ended')";
    LEASE_ENDED = "UPDATE lease SET outcome = 'ended'
        WHERE tenant = $1 AND id = $2 AND (outcome IS NULL OR outcome <> 'ended')";
    LEASES_OF_NODE_ENDING = "UPDATE lease SET outcome = 'ending'
        WHERE tenant = $1 AND node = $2 AND (outcome IS NULL OR outcome <> 'ended')";
    SERIAL_ADD = "INSERT INTO serial (tenant, serial, leaf, subject, node, not_after) VALUES ($1, $2, $3, $4, $5, $6)";
    NODE_PUT = "INSERT INTO node (tenant, name, epoch, attestor, ek, ak_public, node_key_spki, node_key_name, statement_key,
        hpke_suite, hpke_key, boot, reset_count, attested_at, quoted_at, not_after, banned)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
        ON CONFLICT (tenant, name) DO UPDATE SET epoch = excluded.epoch, attestor = excluded.attestor, ek = excluded.ek,
        ak_public = excluded.ak_public, node_key_spki = excluded.node_key_spki, node_key_name = excluded.node_key_name,
        statement_key = excluded.statement_key,
        hpke_suite = excluded.hpke_suite, hpke_key = excluded.hpke_key, boot = excluded.boot,
        reset_count = excluded.reset_count, attested_at = excluded.attested_at, quoted_at = excluded.quoted_at,
        not_after = excluded.not_after, banned = excluded.banned";
    NODE_QUOTED = "UPDATE node SET quoted_at = $3, reset_count = $4 WHERE tenant = $1 AND name = $2";
    NODE_BANNED = "UPDATE node SET banned = 1, epoch = epoch + 1 WHERE tenant = $1 AND name = $2";
    NODE_RAISED = "UPDATE node SET epoch = epoch + 1, statement_key = '' WHERE tenant = $1 AND name = $2";
    TOKEN_ADD = "INSERT INTO token (tenant, hash, node, not_after, used) VALUES ($1, $2, $3, $4, 0)";
    TOKEN_USED = "UPDATE token SET used = 1 WHERE tenant = $1 AND hash = $2 AND used = 0";
    SECRET_ADD = "INSERT INTO secret (tenant, name, version, leaf, dataset, suite, key_id, enc, ct, put_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    SECRET_EXPOSED = "UPDATE secret SET exposed_at = COALESCE(exposed_at, $4)
        WHERE tenant = $1 AND name = $2 AND version = $3";
    ESTATE_ADD = "INSERT INTO estate (tenant, version, leaf, hash, files, number, change, record, applied_by, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    CHANGE_ADD = "INSERT INTO change (tenant, number, leaf, hash, record, files, submitted_by, at, expires, state)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'waiting')";
    CHANGE_SIGNED = "UPDATE change SET record = $3 WHERE tenant = $1 AND number = $2 AND state = 'waiting'";
    CHANGE_REJECTED = "UPDATE change SET state = 'rejected' WHERE tenant = $1 AND number = $2 AND state = 'waiting'";
    CHANGE_APPLIED = "UPDATE change SET state = 'applied', version = $3, files = ''
        WHERE tenant = $1 AND number = $2 AND state = 'waiting'";
    CHANGES_VOID = "UPDATE change SET state = 'void' WHERE tenant = $1 AND state = 'waiting'";

    // rows read back
    NODE = "SELECT * FROM node WHERE tenant = $1 AND name = $2";
    NODES = "SELECT * FROM node WHERE tenant = $1 ORDER BY name";
    ESTATE = "SELECT * FROM estate WHERE tenant = $1 ORDER BY version DESC LIMIT 1";
    ESTATES = "SELECT * FROM estate WHERE tenant = $1 ORDER BY version";
    ESTATE_AT = "SELECT * FROM estate WHERE tenant = $1 AND version = $2";
    ESTATE_HISTORY = "SELECT version, hash, number, change, applied_by, leaf, at FROM estate WHERE tenant = $1
        ORDER BY version DESC";
    CHANGE = "SELECT * FROM change WHERE tenant = $1 AND number = $2";
    CHANGES = "SELECT tenant, number, leaf, hash, record, '' AS files, submitted_by, at, expires, state, version
        FROM change WHERE tenant = $1 ORDER BY number DESC";
    SECRET = "SELECT * FROM secret WHERE tenant = $1 AND name = $2 ORDER BY version DESC LIMIT 1";
    SECRETS = "SELECT * FROM secret s WHERE tenant = $1 AND version =
        (SELECT MAX(version) FROM secret n WHERE n.tenant = s.tenant AND n.name = s.name) ORDER BY name";
    SECRETS_EXPOSED = "SELECT name, exposed_at FROM secret s WHERE tenant = $1 AND exposed_at IS NOT NULL AND version =
        (SELECT MAX(version) FROM secret n WHERE n.tenant = s.tenant AND n.name = s.name) ORDER BY name";
    LEASE = "SELECT * FROM lease WHERE tenant = $1 AND id = $2";
    LEASES = "SELECT * FROM lease WHERE tenant = $1 AND ($2 = 0 OR outcome IS NULL OR outcome <> 'ended')
        ORDER BY leaf DESC";
    LEASES_ENDED = "SELECT * FROM lease WHERE tenant = $1 AND node = $2 AND outcome IN ('ending', 'ended')
        ORDER BY leaf DESC LIMIT $3";
    LEASES_DUE = "SELECT * FROM lease WHERE tenant = $1 AND (outcome IS NULL OR outcome <> 'ended')
        AND (outcome = 'ending' OR expires <= $2 OR (outcome IS NULL AND made < $3)) ORDER BY leaf";
    KEY = "SELECT * FROM wrapped_key WHERE tenant = $1 AND purpose = $2 AND name = $3";
    KEYS = "SELECT * FROM wrapped_key WHERE tenant = $1 ORDER BY purpose, name";
    KEY_ADD = "INSERT INTO wrapped_key (tenant, purpose, name, algorithm, public, wrapped, created)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, purpose, name) DO NOTHING";

    // the log
    ENTRY_OF = "SELECT idx, granted FROM leaf WHERE tenant = $1 AND entry = $2";
    LEAF = "SELECT leaf FROM leaf WHERE tenant = $1 AND idx = $2";
    LEAVES_BEFORE = "SELECT idx, leaf FROM leaf WHERE tenant = $1 AND idx < $2 AND time >= $3 AND time < $4
        ORDER BY idx DESC LIMIT $5";
    LEAVES_DISCLOSING = "SELECT d.leaf AS idx, l.leaf FROM disclosure d
        JOIN leaf l ON l.tenant = d.tenant AND l.idx = d.leaf
        WHERE d.tenant = $1 AND d.name = $6 AND d.value = $7 AND d.leaf < $2 AND l.time >= $3 AND l.time < $4
        ORDER BY d.leaf DESC LIMIT $5";
    LEAVES_FROM = "SELECT idx, time, leaf FROM leaf WHERE tenant = $1 AND idx >= $2 ORDER BY idx LIMIT $3";
    DISCLOSURES = "SELECT encoded FROM disclosure WHERE tenant = $1 AND leaf = $2 ORDER BY position";
    DISCLOSURES_RANGE = "SELECT leaf, encoded, name, value FROM disclosure WHERE tenant = $1 AND leaf >= $2 AND leaf < $3
        ORDER BY leaf, position";
    DISCLOSURES_STRAY = "SELECT DISTINCT leaf FROM disclosure WHERE tenant = $1 AND (leaf < 0 OR leaf >= $2)";
    HASHES_RANGE = "SELECT idx, hash FROM stored_hash WHERE tenant = $1 AND idx >= $2 AND idx < $3";
    HASHES_STRAY = "SELECT COUNT(*) AS hashes FROM stored_hash WHERE tenant = $1 AND (idx < 0 OR idx >= $2)";
    LEAVES_STRAY = "SELECT idx FROM leaf WHERE tenant = $1 AND idx < 0";
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Connection, Executor, SqlSafeStr, SqliteConnection};

    #[tokio::test]
    async fn every_statement_is_prepared_by_the_engine() {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::migrate!("./migrations")
            .run_direct(None, &mut db, false)
            .await
            .unwrap();
        for (name, sql) in ALL {
            let prepared = (&mut db).prepare((*sql).into_sql_str()).await;
            assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
        }
    }

    #[test]
    fn every_statement_on_rows_names_the_tenant() {
        for (name, sql) in ALL {
            let rows = ["FROM", "INTO", "UPDATE"]
                .iter()
                .any(|word| sql.contains(word));
            assert!(
                !rows || sql.contains("tenant = $1") || sql.contains("(tenant, "),
                "{name}"
            );
        }
    }
}
