//! Roles for leases: they log in, they end with their sessions, and nothing else can be done with them.

use std::process::Command;
use std::time::Duration;

use accounts::scram::{Iterations, Password, Salt, Verifier, verifier};
use accounts::{AccountError, Ended, Login, PostgresAccounts, RoleName};
use estate::{Grant, Timestamp};
use fixture::{Daemon, DaemonSpec, Postgres, Scratch, until_async};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Lab {
    scratch: Scratch,
    database: Postgres,
    accounts: PostgresAccounts,
}

impl Lab {
    async fn start() -> Self {
        let scratch = Scratch::new("accounts").unwrap();
        let database = Postgres::start(&scratch).unwrap();
        std::fs::write(scratch.join("ca.pem"), database.ca_pem()).unwrap();
        let accounts =
            PostgresAccounts::connect(&database.url(), database.ca_pem(), &broker(&database))
                .await
                .unwrap();
        Self {
            scratch,
            database,
            accounts,
        }
    }

    fn address(&self) -> String {
        let ca = self.scratch.join("ca.pem").display().to_string();
        format!(
            "host=localhost port={} dbname=medrec sslmode=verify-full sslrootcert={ca}",
            self.database.port()
        )
    }

    /// Runs one statement as the role; its words, good or bad.
    fn ask(&self, role: &RoleName, password: &Password, sql: &str) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.env("PGUSER", role.as_str())
            .env("PGPASSWORD", password.expose_password());
        let output = psql
            .args(["-X", "-A", "-t", "-d", &self.address(), "-c", sql])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// A session of the role that stays open by itself.
    fn session(&self, role: &RoleName, password: &Password) -> Daemon {
        let spec = DaemonSpec::new("session", "psql")
            .env("PGUSER", role.as_str())
            .env("PGPASSWORD", password.expose_password());
        spec.args(["-X", "-d", &self.address(), "-c", "select pg_sleep(600)"])
            .start(&self.scratch)
            .unwrap()
    }
}

fn broker(database: &Postgres) -> Login {
    Login::new(
        database.broker().user.clone(),
        database.broker().password.clone(),
    )
}

fn role(name: &str) -> RoleName {
    name.parse().unwrap()
}

fn credential(seed: u8) -> (Password, Verifier) {
    let password = Password::from_random(&[seed; 32]);
    let verifier = verifier(
        &password,
        Salt::from_random([seed; 16]),
        Iterations::DEFAULT,
    );
    (password, verifier)
}

fn grants() -> Vec<Grant> {
    [
        "CONNECT ON DATABASE medrec",
        "USAGE ON SCHEMA records",
        "SELECT ON ALL TABLES IN SCHEMA records",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec()
}

fn later() -> Timestamp {
    "2099-01-01T00:00:00Z".parse().unwrap()
}

const READ: &str = "select count(*) from records.medical_records";

#[tokio::test]
#[ignore = "needs root and PostgreSQL; run by make test"]
async fn a_role_reads_what_it_was_granted_and_nothing_more() {
    let lab = Lab::start().await;
    let (name, (password, verifier)) = (role("bw_1_records"), credential(1));
    lab.accounts
        .create_role(&name, &verifier, later(), &grants())
        .await
        .unwrap();
    assert_eq!(lab.ask(&name, &password, READ).unwrap(), "3");
    let (other, _) = credential(2);
    assert!(
        lab.ask(&name, &other, READ)
            .unwrap_err()
            .contains("password authentication failed")
    );
    for sql in [
        "insert into records.medical_records (patient, finding) values ('x', 'y')",
        "create role bw_9 login",
        "create table records.mine ()",
        "alter role bw_1_records valid until 'infinity'",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'broker'",
        "set role broker",
    ] {
        assert!(lab.ask(&name, &password, sql).is_err(), "{sql}");
    }
    let stored = lab.database.query("select rolpassword, rolvaliduntil at time zone 'UTC' from pg_authid where rolname = 'bw_1_records'");
    assert_eq!(
        stored.unwrap(),
        [[
            verifier.expose_text().to_string(),
            "2099-01-01 00:00:00".to_owned()
        ]]
    );
}

#[tokio::test]
#[ignore = "needs root and PostgreSQL; run by make test"]
async fn making_a_role_again_renews_it_and_a_bad_grant_leaves_nothing() {
    let lab = Lab::start().await;
    let name = role("bw_2_records");
    for seed in [1, 2] {
        let (password, verifier) = credential(seed);
        lab.accounts
            .create_role(&name, &verifier, later(), &grants())
            .await
            .unwrap();
        assert_eq!(lab.ask(&name, &password, READ).unwrap(), "3");
    }
    assert!(lab.ask(&name, &credential(1).0, READ).is_err());
    let missing = ["SELECT ON TABLE records.no_such_table".parse().unwrap()];
    let refused = lab
        .accounts
        .create_role(&role("bw_3"), &credential(3).1, later(), &missing)
        .await;
    assert!(
        matches!(refused, Err(AccountError::Refused { .. })),
        "{refused:?}"
    );
    assert_eq!(lab.database.roles("bw_").unwrap(), ["bw_2_records"]);
}

#[tokio::test]
#[ignore = "needs root and PostgreSQL; run by make test"]
async fn ending_a_role_kills_its_sessions_and_leaves_no_trace() {
    let lab = Lab::start().await;
    let (name, (password, verifier)) = (role("bw_4_records"), credential(4));
    lab.accounts
        .create_role(&name, &verifier, later(), &grants())
        .await
        .unwrap();
    let session = lab.session(&name, &password);
    let alive = until_async("the session", Duration::from_secs(10), async || {
        lab.database.sessions("bw_4").unwrap().into_iter().next()
    });
    alive.await.unwrap();
    assert_eq!(
        lab.accounts.end_role(&name).await.unwrap(),
        Ended::Dropped { sessions: 1 }
    );
    assert!(lab.database.sessions("bw_").unwrap().is_empty());
    assert!(lab.database.roles("bw_").unwrap().is_empty());
    assert!(
        lab.ask(&name, &password, READ)
            .unwrap_err()
            .contains("password authentication failed")
    );
    session
        .ready(Duration::from_secs(5), || None::<()>)
        .unwrap_err();
    assert!(
        session
            .log()
            .contains("terminating connection due to administrator command"),
        "{}",
        session.log()
    );
    let traces = "select count(*) from pg_class where relacl::text like '%bw_%' union all \
                  select count(*) from pg_auth_members where roleid not in (select oid from pg_roles)";
    assert_eq!(lab.database.query(traces).unwrap(), [["0"], ["0"]]);
    assert_eq!(lab.accounts.end_role(&name).await.unwrap(), Ended::Absent);
}

#[tokio::test]
#[ignore = "needs root and PostgreSQL; run by make test"]
async fn roles_that_a_crash_left_are_listed_and_ended() {
    let lab = Lab::start().await;
    for name in ["bw_5", "bw_6_x", "bw_7"] {
        lab.accounts
            .create_role(&role(name), &credential(5).1, later(), &grants())
            .await
            .unwrap();
    }
    // Half ended: closed, but not dropped.
    lab.database.query("alter role bw_7 nologin").unwrap();
    lab.database
        .query("create role bwother; create role \"bw_Not Ours\"")
        .unwrap();
    let found = lab
        .accounts
        .roles_with_prefix(RoleName::PREFIX)
        .await
        .unwrap();
    assert_eq!(found, ["bw_5", "bw_6_x", "bw_7"].map(role));
    assert_eq!(
        lab.accounts.roles_with_prefix("bw_6_").await.unwrap(),
        [role("bw_6_x")]
    );
    for name in found {
        assert_eq!(
            lab.accounts.end_role(&name).await.unwrap(),
            Ended::Dropped { sessions: 0 }
        );
    }
    assert_eq!(
        lab.accounts
            .roles_with_prefix(RoleName::PREFIX)
            .await
            .unwrap(),
        []
    );
}

#[tokio::test]
#[ignore = "needs root and PostgreSQL; run by make test"]
async fn a_stronger_role_of_that_name_is_neither_taken_over_nor_ended() {
    let lab = Lab::start().await;
    lab.database
        .query("create role bw_8 login createdb; create role bw_9 login in role broker")
        .unwrap();
    for name in ["bw_8", "bw_9"] {
        let made = lab
            .accounts
            .create_role(&role(name), &credential(8).1, later(), &[])
            .await;
        assert!(matches!(made, Err(AccountError::Taken { .. })), "{made:?}");
        let ended = lab.accounts.end_role(&role(name)).await;
        assert!(
            matches!(ended, Err(AccountError::Taken { .. })),
            "{ended:?}"
        );
    }
    assert_eq!(
        lab.database
            .query(
                "select rolname from pg_roles where rolname like 'bw%' and rolcanlogin order by 1"
            )
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
#[ignore = "needs root and PostgreSQL; run by make test"]
async fn many_roles_are_made_and_ended_at_once() {
    let lab = Lab::start().await;
    let accounts = std::sync::Arc::new(lab.accounts);
    let mut work = tokio::task::JoinSet::new();
    for number in 0..20 {
        let accounts = std::sync::Arc::clone(&accounts);
        work.spawn(async move {
            let name = role(&format!("bw_many_{number}"));
            accounts
                .create_role(&name, &credential(number).1, later(), &grants())
                .await
                .unwrap();
            if number % 2 == 0 {
                accounts.end_role(&name).await.unwrap();
            }
        });
    }
    work.join_all().await;
    assert_eq!(lab.database.roles("bw_many_").unwrap().len(), 10);
    let connections = "select count(*) from pg_stat_activity where usename = 'broker'";
    let open: usize = lab.database.query(connections).unwrap()[0][0]
        .parse()
        .unwrap();
    assert!((1..=4).contains(&open), "{open}");
}

#[tokio::test]
#[ignore = "needs root and PostgreSQL; run by make test"]
async fn a_lost_connection_is_opened_again() {
    let lab = Lab::start().await;
    let (_, verifier) = credential(6);
    lab.database
        .query("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'broker'")
        .unwrap();
    let made = until_async("the role", Duration::from_secs(10), async || {
        lab.accounts
            .create_role(&role("bw_10"), &verifier, later(), &grants())
            .await
            .ok()
    });
    made.await.unwrap();
    assert_eq!(lab.database.roles("bw_").unwrap(), ["bw_10"]);
}

#[tokio::test]
#[ignore = "needs root and PostgreSQL; run by make test"]
async fn another_authority_a_wrong_password_and_a_weak_login_are_told_apart() {
    let lab = Lab::start().await;
    let (url, ca) = (lab.database.url(), lab.database.ca_pem());
    let key = rcgen::KeyPair::generate().unwrap();
    let stranger = rcgen::CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap()
        .pem();
    let connect = async |url: &str, ca: &str, login: Login| {
        PostgresAccounts::connect(url, ca, &login)
            .await
            .err()
            .unwrap()
    };
    let untrusted = connect(&url, &stranger, broker(&lab.database)).await;
    assert!(
        matches!(untrusted, AccountError::Untrusted(_)),
        "{untrusted:?}"
    );
    let refused = connect(&url, ca, Login::new("broker".into(), "wrong".into())).await;
    assert!(
        matches!(refused, AccountError::LoginRefused(_)),
        "{refused:?}"
    );
    lab.database
        .query("create role weak login password 'weak'; grant connect on database medrec to weak")
        .unwrap();
    let weak = connect(&url, ca, Login::new("weak".into(), "weak".into())).await;
    assert!(
        matches!(
            weak,
            AccountError::LoginWeak {
                missing: "create roles"
            }
        ),
        "{weak:?}"
    );
    // A server that asks for the password in the clear does not get it.
    let hba = lab.scratch.join("postgres/hba.conf");
    std::fs::write(
        &hba,
        "hostssl all weak all password\nlocal all all scram-sha-256\n",
    )
    .unwrap();
    lab.database.query("select pg_reload_conf()").unwrap();
    let bound = until_async("the reload", Duration::from_secs(10), async || {
        let error = connect(&url, ca, Login::new("weak".into(), "weak".into())).await;
        (!matches!(error, AccountError::LoginWeak { .. })).then_some(error)
    });
    let bound = bound.await.unwrap();
    assert!(matches!(bound, AccountError::Untrusted(_)), "{bound:?}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_hears_no_user_and_no_password() {
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap()
        .pem();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let url = format!(
        "postgresql://localhost:{}/medrec",
        listener.local_addr().unwrap().port()
    );
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 8];
        stream.read_exact(&mut heard).await.unwrap();
        stream.write_all(b"N").await.unwrap();
        stream.read_to_end(&mut heard).await.unwrap();
        heard
    });
    let error = PostgresAccounts::connect(&url, &ca, &Login::new("broker".into(), "secret".into()))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, AccountError::Untrusted(_)), "{error:?}");
    // The request for TLS, and then nothing.
    assert_eq!(server.await.unwrap(), [0, 0, 0, 8, 4, 210, 22, 47]);
}

#[tokio::test]
#[ignore = "needs root and PostgreSQL; run by make test"]
async fn one_role_that_can_not_be_dropped_keeps_no_other_open() {
    use server::ports::{Connection, DatabaseAccounts};
    let lab = Lab::start().await;
    let (owner, (password, proof)) = (role("bw_1_owner"), credential(1));
    let other = role("bw_2_records");
    for name in [&owner, &other] {
        lab.accounts
            .create_role(name, &proof, later(), &grants())
            .await
            .unwrap();
    }
    // A large object of another database is not dropped with what the role owns in this one.
    let elsewhere = lab.address().replace("dbname=medrec", "dbname=postgres");
    let made = Command::new("psql")
        .env("PGUSER", owner.as_str())
        .env("PGPASSWORD", password.expose_password())
        .args(["-X", "-d", &elsewhere, "-c", "select lo_create(0)"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let broker = lab.database.broker();
    let login = format!(
        r#"{{"user":"{}","password":"{}"}}"#,
        broker.user, broker.password
    );
    let connection = Connection {
        url: lab.database.url(),
        ca_pem: lab.database.ca_pem().to_owned(),
        login: login.into_bytes().into(),
    };
    let roles = [&owner, &other].map(|role| role.as_str().to_owned());
    let ended = accounts::EstateAccounts.end(&connection, &roles).await;
    assert!(ended.is_err());
    assert_eq!(lab.database.roles("bw_").unwrap(), ["bw_1_owner"]);
    assert!(lab.ask(&owner, &password, READ).is_err());
}

#[tokio::test]
#[ignore = "needs root and PostgreSQL; run by make test"]
async fn a_role_that_holds_our_lock_is_ended_all_the_same_and_so_are_others() {
    let lab = Lab::start().await;
    let (locker, (password, proof)) = (role("bw_1_locker"), credential(1));
    let (other, (other_password, other_proof)) = (role("bw_2_records"), credential(2));
    for (name, proof) in [(&locker, &proof), (&other, &other_proof)] {
        lab.accounts
            .create_role(name, proof, later(), &grants())
            .await
            .unwrap();
    }
    // Anybody may take an advisory lock, and pg_locks shows which one is ours.
    let lock = "select pg_advisory_lock(7094420271094784375), pg_sleep(600)";
    let spec = DaemonSpec::new("locker", "psql")
        .env("PGUSER", locker.as_str())
        .env("PGPASSWORD", password.expose_password());
    let _locking = spec
        .args(["-X", "-d", &lab.address(), "-c", lock])
        .start(&lab.scratch)
        .unwrap();
    let held = until_async("the lock", Duration::from_secs(10), async || {
        let held = "select 1 from pg_locks where locktype = 'advisory' and granted";
        lab.database.query(held).unwrap().into_iter().next()
    });
    held.await.unwrap();
    // Whatever becomes of the drop: nobody logs in as the other any more.
    let _ = lab.accounts.end_role(&other).await;
    assert!(lab.ask(&other, &other_password, READ).is_err());
    lab.accounts.end_role(&locker).await.unwrap();
    lab.accounts.end_role(&other).await.unwrap();
    let left = lab
        .database
        .query("select rolname from pg_roles where rolname like 'bw\\_%'")
        .unwrap();
    assert!(left.is_empty(), "{left:?}");
}
