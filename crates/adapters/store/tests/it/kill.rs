//! `kill -9` under load: the test runs itself as the process to be killed.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
};

use ledger::Journal;
use server::ports::Store;
use store::{Create, SqliteStore, StoreConfig};

use crate::testkit::{Place, commitment, entry, signer};

const DATABASE: &str = "STORE_TEST_DATABASE";

#[test]
fn a_killed_process_keeps_every_answer() {
    if let Some(path) = std::env::var_os(DATABASE) {
        return append_for_ever(path.into());
    }
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { place.open(Create::New).await.close().await });
    let mut answered = Vec::new();
    for round in 0..6 {
        answered.extend(answers_until_killed(&place, 20 + 17 * round));
    }
    runtime.block_on(async {
        let store = place.open(Create::Existing).await;
        for (index, leaf) in &answered {
            assert_eq!(
                &store
                    .entry(*index)
                    .await
                    .unwrap()
                    .expect("an answer without a leaf")
                    .leaf,
                leaf
            );
        }
        assert_eq!(store.audit().await, Ok(vec![]));
        store.close().await;
    });
}

fn answers_until_killed(place: &Place, after: usize) -> Vec<(u64, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "kill::a_killed_process_keeps_every_answer",
            "--nocapture",
            "--quiet",
        ])
        .env(DATABASE, place.database())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let answer = |line: String| {
        let (index, leaf) = line.strip_prefix("answer ")?.split_once(' ')?;
        // The last line may be cut short.
        leaf.ends_with('}')
            .then(|| (index.parse().unwrap(), leaf.to_owned()))
    };
    let mut answered: Vec<_> = lines
        .by_ref()
        .map_while(Result::ok)
        .filter_map(answer)
        .take(after)
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    // What was on its way when the process died was answered, too.
    answered.extend(lines.map_while(Result::ok).filter_map(answer));
    assert!(answered.len() >= after, "the process ended by itself");
    answered
}

fn append_for_ever(path: std::path::PathBuf) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let config = StoreConfig {
            head_file: Some(path.with_file_name("head")),
            tenant: "hospital".parse().unwrap(),
            create: Create::Existing,
            path,
        };
        let clock = Place::new().clock;
        let store = Arc::new(SqliteStore::open(config, signer(), clock).await.unwrap());
        let tasks = (0..8).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                loop {
                    let written = store.append(entry("under load")).await.unwrap();
                    let commitment = commitment(&written);
                    let leaf = std::str::from_utf8(&commitment.leaf).unwrap();
                    let line = format!("answer {} {leaf}\n", commitment.index);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            })
        });
        futures::future::join_all(tasks).await;
    });
}
