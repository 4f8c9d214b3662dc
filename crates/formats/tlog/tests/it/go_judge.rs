//! Go's `sumdb/note`, `sumdb/tlog` and the reference reader of tlog-proof and tlog-tiles judge what this
//! crate makes. Go is a prerequisite of this repository's tests.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tlog::{
    Bundle, Checkpoint, Hash, Note, Receipt, Signer, Tile, Tree, consistency_proof,
    inclusion_proof, leaf_hash,
};

const SIZES: [u64; 9] = [1, 2, 3, 7, 8, 255, 256, 257, 600];

/// A log with everything at hand, as its server would have it.
struct Log {
    signer: Signer,
    entries: Vec<Vec<u8>>,
    stored: Vec<Hash>,
}

impl Log {
    fn of(size: u64) -> Self {
        let mut tree = Tree::new();
        let mut log = Self {
            signer: Signer::from_seed("log.example/judged", &[4; 32]).unwrap(),
            entries: Vec::new(),
            stored: Vec::new(),
        };
        for n in 0..size {
            let entry = format!("entry {n}").into_bytes();
            log.stored.extend(
                tree.append(leaf_hash(&entry))
                    .unwrap()
                    .iter()
                    .map(|node| node.hash),
            );
            log.entries.push(entry);
        }
        log
    }

    fn checkpoint(&self, size: u64) -> Note {
        let root = tlog::tree_hash(size, self.stored.as_slice()).unwrap();
        Checkpoint::new(self.signer.name(), size, root)
            .unwrap()
            .sign(&self.signer)
            .unwrap()
    }

    fn inclusion(&self, index: u64, size: u64) -> Vec<Hash> {
        inclusion_proof(index, size, self.stored.as_slice()).unwrap()
    }

    fn key(&self) -> String {
        self.signer.verifier_key().to_string()
    }

    /// Writes the log as static files.
    fn write(&self, directory: &Path) {
        let size = self.entries.len() as u64;
        let put = |path: &str, data: Vec<u8>| {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, data).unwrap();
        };
        put("checkpoint", self.checkpoint(size).to_string().into_bytes());
        for tile in Tile::grown(0, size) {
            put(
                &tile.to_string(),
                tile.data(self.stored.as_slice()).unwrap(),
            );
            if tile.level() == 0 {
                let bundle = Bundle::new(tile.index(), tile.width()).unwrap();
                let first = bundle.first_entry() as usize;
                let entries = &self.entries[first..first + usize::from(bundle.width())];
                put(&bundle.to_string(), bundle.encode(entries).unwrap());
            }
        }
    }
}

/// The judge, built once.
fn judge() -> &'static Path {
    static JUDGE: OnceLock<PathBuf> = OnceLock::new();
    JUDGE.get_or_init(|| {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../interop");
        let judge = Path::new(env!("CARGO_TARGET_TMPDIR")).join("judge-tlog");
        let build = Command::new("go")
            .args(["build", "-o"])
            .arg(&judge)
            .arg("./cmd/judge-tlog")
            .current_dir(&module)
            .output()
            .expect("Go must be installed: its verifiers judge this crate");
        assert!(
            build.status.success(),
            "the judge must build: {}",
            String::from_utf8_lossy(&build.stderr)
        );
        judge
    })
}

fn ask(question: &Value) -> Result<Value, String> {
    let mut child = Command::new(judge())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(question.to_string().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.code() {
        Some(0) => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        Some(1) => Err(String::from_utf8(output.stderr).unwrap()),
        other => panic!("the judge ended with {other:?}"),
    }
}

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

/// A question about the last leaf and about the growth from half the size.
fn question(log: &Log) -> Value {
    let size = log.entries.len() as u64;
    let (index, old) = (size - 1, size.div_ceil(2));
    let leaf = leaf_hash(&log.entries[index as usize]).to_string();
    let receipt = Receipt::new(index, log.inclusion(index, size), log.checkpoint(size));
    json!({
        "vkey": log.key(),
        "checkpoint": log.checkpoint(size).to_string(),
        "inclusion": { "index": index, "leaf_hash": leaf, "proof": texts(&log.inclusion(index, size)) },
        "consistency": {
            "checkpoint": log.checkpoint(old).to_string(),
            "proof": texts(&consistency_proof(old, size, log.stored.as_slice()).unwrap()),
        },
        "receipt": { "text": receipt.with_extra(b"hint".to_vec()).to_text(), "leaf_hash": leaf },
    })
}

#[test]
fn go_accepts_checkpoints_proofs_and_receipts_of_several_sizes() {
    for size in SIZES {
        let answer =
            ask(&question(&Log::of(size))).unwrap_or_else(|reason| panic!("size {size}: {reason}"));
        assert_eq!(
            answer["verified"],
            json!(["checkpoint", "inclusion", "consistency", "receipt"])
        );
        assert_eq!(
            (&answer["size"], &answer["origin"]),
            (&json!(size), &json!("log.example/judged"))
        );
    }
}

#[test]
fn go_refuses_what_was_tampered_with() {
    let log = Log::of(600);
    let good = question(&log);
    let stranger = Signer::from_seed("log.example/judged", &[5; 32])
        .unwrap()
        .verifier_key()
        .to_string();
    let other_leaf = json!(leaf_hash(b"entry 0").to_string());
    let receipt = good["receipt"]["text"].as_str().unwrap();
    let tampered = [
        ("checkpoint", "/vkey", json!(stranger)),
        (
            "checkpoint",
            "/checkpoint",
            json!(
                good["checkpoint"]
                    .as_str()
                    .unwrap()
                    .replace("\n600\n", "\n601\n")
            ),
        ),
        ("inclusion", "/inclusion/index", json!(598)),
        ("inclusion", "/inclusion/leaf_hash", other_leaf.clone()),
        ("inclusion", "/inclusion/proof/0", other_leaf.clone()),
        ("consistency", "/consistency/proof/1", other_leaf.clone()),
        (
            "consistency",
            "/consistency/checkpoint",
            json!(log.checkpoint(299).to_string()),
        ),
        (
            "receipt",
            "/receipt/text",
            json!(receipt.replace("index 599", "index 598")),
        ),
        (
            "receipt",
            "/receipt/text",
            json!(receipt.replace("@v1", "@v2")),
        ),
        ("receipt", "/receipt/leaf_hash", other_leaf),
    ];
    for (part, pointer, value) in tampered {
        let mut question = good.clone();
        *question.pointer_mut(pointer).unwrap() = value;
        let reason = ask(&question).expect_err(pointer);
        assert!(reason.starts_with(part), "{pointer}: {reason}");
    }
}

#[test]
fn go_reads_every_entry_from_our_tiles() {
    for size in [1, 256, 600] {
        let log = Log::of(size);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tiles-{size}"));
        let _ = fs::remove_dir_all(&directory);
        log.write(&directory);
        let answer = ask(&json!({ "vkey": log.key(), "tiles": directory })).unwrap();
        assert_eq!(answer["entries"].as_array().unwrap().len() as u64, size);

        let bundle = directory.join(if size == 1 {
            "tile/entries/000.p/1"
        } else {
            "tile/entries/000"
        });
        let mut bytes = fs::read(&bundle).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&bundle, bytes).unwrap();
        assert!(ask(&json!({ "vkey": log.key(), "tiles": directory })).is_err());
    }
}
