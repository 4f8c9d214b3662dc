//! A live server's ledger, mirrored over its API and judged by Go's `sumdb/note`, `sumdb/tlog` and the reader of tlog-tiles.

use std::fs;
use std::path::Path;

use fixture::Scratch;
use real::{Judge, LoneServer};
use serde_json::{Value, json};
use tlog::{Bundle, Checkpoint, Hash, Note, Receipt, Tile, Tree, VerifierKey, leaf_hash};
use web::Call;
use web::client::Question;

/// A log as its server tells it now, recomputed from its entries.
pub(crate) struct Log {
    pub(crate) key: VerifierKey,
    pub(crate) checkpoint: String,
    pub(crate) entries: Vec<Vec<u8>>,
    /// The root of each size.
    roots: Vec<Hash>,
}

/// What a receipt proves.
pub(crate) struct Proven {
    pub(crate) index: u64,
    pub(crate) size: u64,
}

impl Log {
    /// Fetches checkpoint and entries; they must fit each other and the key that `init` printed.
    pub(crate) async fn fetch(server: &LoneServer) -> Self {
        let client = server.client();
        let note = client.fetch(Call::Checkpoint, Question::default()).await;
        let checkpoint = String::from_utf8(note.unwrap()).unwrap();
        let key = server.ledger_key().clone();
        let opened = Checkpoint::open(&Note::parse(&checkpoint).unwrap(), &key).unwrap();
        let mut entries = Vec::new();
        while (entries.len() as u64) < opened.size() {
            let rest = opened.size() - entries.len() as u64;
            let width = u16::try_from(rest.min(256)).unwrap();
            let bundle = Bundle::new(entries.len() as u64 / 256, width).unwrap();
            let bytes = place(&client, Call::Entries, "tile/entries/", &bundle.to_string()).await;
            entries.extend(
                bundle
                    .decode(&bytes)
                    .unwrap()
                    .into_iter()
                    .map(<[u8]>::to_vec),
            );
        }
        let mut tree = Tree::new();
        let mut roots = vec![tree.root()];
        for entry in &entries {
            tree.append(leaf_hash(entry)).unwrap();
            roots.push(tree.root());
        }
        assert_eq!(tree.root(), opened.root(), "entries and checkpoint differ");
        Self {
            key,
            checkpoint,
            entries,
            roots,
        }
    }

    /// A receipt verifies, and its tree is a beginning of this one.
    pub(crate) fn proves(&self, leaf: &[u8], proof: &str) -> Proven {
        let receipt = Receipt::parse(proof).unwrap();
        let verified = receipt.verify(leaf_hash(leaf), &self.key).unwrap();
        let (index, size) = (verified.index(), verified.size());
        let root = self.roots.get(usize::try_from(size).unwrap());
        assert_eq!(root, Some(&verified.root()), "a fork at size {size}");
        Proven { index, size }
    }
}

/// Bytes of a place below `prefix`, which the endpoint's path has already.
async fn place(client: &web::Client, call: Call, prefix: &str, at: &str) -> Vec<u8> {
    let path = [("place", at.strip_prefix(prefix).unwrap())];
    let asked = Question {
        path: &path,
        query: &[],
    };
    client.fetch(call, asked).await.unwrap()
}

/// Writes the log as static files, as tlog-tiles has them.
async fn mirror(server: &LoneServer, log: &Log, folder: &Path) {
    let client = server.client();
    let put = |path: &str, data: &[u8]| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    };
    put("checkpoint", log.checkpoint.as_bytes());
    for tile in Tile::grown(0, log.entries.len() as u64) {
        let bytes = place(&client, Call::Tile, "tile/", &tile.to_string()).await;
        put(&tile.to_string(), &bytes);
        if tile.level() == 0 {
            let bundle = Bundle::new(tile.index(), tile.width()).unwrap().to_string();
            put(
                &bundle,
                &place(&client, Call::Entries, "tile/entries/", &bundle).await,
            );
        }
    }
}

#[tokio::test]
#[ignore = "needs root and Go; run by make test"]
async fn go_verifies_checkpoint_inclusion_receipt_and_tiles_of_a_live_server() {
    let (scratch, judge) = (Scratch::new("ledger").unwrap(), Judge::build("judge-tlog"));
    let server = LoneServer::init(&scratch);
    server.start();
    server.apply_estate(None).await;
    // More leaves than one tile holds.
    let client = server.client();
    for _ in 0..260 {
        let status = client.get::<Value>(Call::Status, Question::default());
        status.await.unwrap();
    }
    let log = Log::fetch(&server).await;
    assert!(log.entries.len() > 256);

    for index in [0, 3, 255, 256] {
        let receipt = server
            .run(&["audit", "receipt", &index.to_string()])
            .well()
            .json();
        let proof = receipt["proof"].as_str().unwrap();
        let parsed = Receipt::parse(proof).unwrap();
        let leaf = leaf_hash(&log.entries[index]).to_string();
        let hashes: Vec<String> = parsed.proof().iter().map(Hash::to_string).collect();
        let question = json!({
            "vkey": log.key.to_string(), "checkpoint": parsed.checkpoint().to_string(),
            "inclusion": { "index": index, "leaf_hash": leaf, "proof": hashes },
            "receipt": { "text": proof, "leaf_hash": leaf },
        });
        let answer = judge.ask(&question).unwrap();
        assert_eq!(
            answer["verified"],
            json!(["checkpoint", "inclusion", "receipt"])
        );
        assert_eq!(answer["origin"], "hospital.lab/ledger/hospital");

        let mut forged = question.clone();
        let other = leaf_hash(&log.entries[index + 1]).to_string();
        forged["inclusion"]["leaf_hash"] = json!(other);
        assert!(judge.ask(&forged).unwrap_err().starts_with("inclusion"));
        let mut forged = question;
        forged["receipt"]["leaf_hash"] = json!(other);
        assert!(judge.ask(&forged).unwrap_err().starts_with("receipt"));
    }

    let folder = scratch.join("mirror");
    mirror(&server, &log, &folder).await;
    let question = json!({ "vkey": log.key.to_string(), "tiles": folder });
    let answer = judge.ask(&question).unwrap();
    assert_eq!(
        answer["entries"].as_array().unwrap().len(),
        log.entries.len()
    );
    let bundle = folder.join("tile/entries/000");
    let mut bytes = fs::read(&bundle).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(bundle, bytes).unwrap();
    assert!(judge.ask(&question).is_err());
}

#[tokio::test]
#[ignore = "needs root and Go; run by make test"]
async fn go_finds_the_log_before_a_restart_in_the_log_after_it() {
    let (scratch, judge) = (Scratch::new("growth").unwrap(), Judge::build("judge-tlog"));
    let server = LoneServer::init(&scratch);
    server.start();
    server.apply_estate(None).await;
    let before = Log::fetch(&server).await;
    server.kill();
    server.start();
    let after = Log::fetch(&server).await;
    let (old, new) = (before.entries.len() as u64, after.entries.len() as u64);
    assert!(old < new);

    let mut tree = Tree::new();
    let mut stored: Vec<Hash> = Vec::new();
    for entry in &after.entries {
        let grown = tree.append(leaf_hash(entry)).unwrap();
        stored.extend(grown.iter().map(|node| node.hash));
    }
    let proof = tlog::consistency_proof(old, new, stored.as_slice()).unwrap();
    let proof: Vec<String> = proof.iter().map(Hash::to_string).collect();
    let question = |checkpoint: &str| {
        json!({
            "vkey": after.key.to_string(), "checkpoint": after.checkpoint,
            "consistency": { "checkpoint": checkpoint, "proof": proof },
        })
    };
    let answer = judge.ask(&question(&before.checkpoint)).unwrap();
    assert_eq!(answer["verified"], json!(["checkpoint", "consistency"]));
    assert!(judge.ask(&question(&after.checkpoint)).is_err());
}
