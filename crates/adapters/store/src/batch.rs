//! One transaction: many entries, each whole or as its refusal, the tree above them, one signed checkpoint.

use std::collections::{BTreeMap, HashSet};

use estate::Timestamp;
use ledger::{Commitment, Draft, Entry, Guard, JournalError, SealedLeaf, Written};
use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};
use tlog::{Checkpoint, Hash, Note, Plan, Receipt, Signer, Tree, inclusion_proof, leaf_hash};

use crate::{
    columns::signed,
    effects::{EffectError, Effects},
    guards::{Guards, Standing},
    log::{search_key, value_text},
    state::LogState,
    statements as sql,
};

/// What becomes of each entry once the transaction has committed, in the order of the entries.
pub(crate) struct Filled {
    /// Absent when no entry could be written.
    pub(crate) advanced: Option<Advanced>,
    pub(crate) answers: Vec<Result<Written, JournalError>>,
}

/// The log with the batch in it.
pub(crate) struct Advanced {
    pub(crate) state: LogState,
    pub(crate) checkpoint: String,
}

/// The batch can't be written, for a reason that is no single entry's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    /// Fault: the database.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// Fault: a defect of ours.
    #[error("the tree does not hold: {0}")]
    Tree(String),
}

/// Within a transaction that has begun, over the edge `before`.
pub(crate) struct Batch<'a> {
    db: &'a mut SqliteConnection,
    tenant: &'a str,
    before: u64,
    tree: Tree,
    now: Timestamp,
    standing: Standing,
    known: HashSet<Vec<u8>>,
    /// Every hash that a proof for a leaf of this batch can need: the edge before, and what the batch stores.
    proving: BTreeMap<u64, Hash>,
    leaves: Vec<Value>,
    disclosures: Vec<Value>,
    hashes: Vec<Value>,
    outcomes: Vec<Outcome>,
}

enum Outcome {
    Invalid(String),
    Leaf {
        index: u64,
        leaf: Vec<u8>,
        failed: Option<Guard>,
    },
}

impl<'a> Batch<'a> {
    /// A batch at `now`, or at the newest leaf's time if the clock is behind it.
    pub(crate) fn new(
        db: &'a mut SqliteConnection,
        tenant: &'a str,
        before: &LogState,
        now: Timestamp,
    ) -> Result<Self, BatchError> {
        let size = before.tree.size();
        let plan = Plan::root(size).map_err(|error| BatchError::Tree(error.to_string()))?;
        Ok(Self {
            db,
            tenant,
            before: size,
            tree: before.tree.clone(),
            now: now.max(before.time),
            standing: Standing::default(),
            known: HashSet::new(),
            proving: plan
                .indexes()
                .into_iter()
                .zip(before.tree.edge().iter().copied())
                .collect(),
            leaves: Vec::new(),
            disclosures: Vec::new(),
            hashes: Vec::new(),
            outcomes: Vec::new(),
        })
    }

    /// Writes the entries and what stands above them; the transaction is left for the caller to commit.
    pub(crate) async fn fill(
        mut self,
        entries: Vec<Entry>,
        signer: &Signer,
    ) -> Result<Filled, BatchError> {
        self.known = self.entries_known(&entries).await?;
        for entry in entries {
            let outcome = self.add(entry).await?;
            self.outcomes.push(outcome);
        }
        let note = if self.leaves.is_empty() {
            None
        } else {
            Some(self.write(signer).await?)
        };
        self.into_filled(note)
    }

    async fn entries_known(&mut self, entries: &[Entry]) -> Result<HashSet<Vec<u8>>, BatchError> {
        let ids: Vec<String> = entries
            .iter()
            .map(|entry| hex::encode(entry.id.0))
            .collect();
        let rows = sqlx::query(sql::ENTRIES_KNOWN)
            .bind(self.tenant.to_owned())
            .bind(Value::from(ids).to_string())
            .fetch_all(&mut *self.db)
            .await?;
        rows.iter()
            .map(|row| row.try_get("entry").map_err(BatchError::from))
            .collect()
    }

    async fn add(&mut self, entry: Entry) -> Result<Outcome, BatchError> {
        let Entry {
            id,
            granted,
            refused,
            effects,
            guards,
        } = entry;
        if !self.known.insert(id.0.to_vec()) {
            return Ok(Outcome::Invalid("its id was used before".into()));
        }
        let mut asked = Guards {
            db: &mut *self.db,
            tenant: self.tenant,
            standing: &mut self.standing,
            time: self.now,
        };
        let failed = asked.failing(&guards).await?;
        let draft = if failed.is_some() { refused } else { granted };
        let sealed = match seal(&draft, self.now) {
            Ok(sealed) => sealed,
            Err(why) => return Ok(Outcome::Invalid(why)),
        };
        if failed.is_none()
            && !effects.is_empty()
            && let Err(why) = self.apply(&effects).await?
        {
            return Ok(Outcome::Invalid(why));
        }
        self.append(&id.0, &draft, sealed, failed)
    }

    /// All effects or none: a savepoint keeps a contradiction in one entry from undoing the others.
    async fn apply(
        &mut self,
        effects: &[ledger::Effect],
    ) -> Result<Result<(), String>, BatchError> {
        sqlx::query(sql::SAVEPOINT).execute(&mut *self.db).await?;
        // What guards have read may be old after this.
        self.standing = Standing::default();
        let mut writer = Effects {
            db: &mut *self.db,
            tenant: self.tenant,
            leaf: self.tree.size(),
            time: self.now,
        };
        let mut outcome = Ok(());
        for effect in effects {
            match writer.apply(effect).await {
                Ok(()) => {}
                Err(EffectError::Database(error)) => return Err(error.into()),
                Err(why @ EffectError::Contradiction(_)) => {
                    outcome = Err(why.to_string());
                    break;
                }
            }
        }
        if outcome.is_err() {
            sqlx::query(sql::SAVEPOINT_UNDO)
                .execute(&mut *self.db)
                .await?;
        }
        sqlx::query(sql::SAVEPOINT_END)
            .execute(&mut *self.db)
            .await?;
        Ok(outcome)
    }

    fn append(
        &mut self,
        id: &[u8],
        draft: &Draft,
        sealed: SealedLeaf,
        failed: Option<Guard>,
    ) -> Result<Outcome, BatchError> {
        let SealedLeaf { bytes, disclosures } = sealed;
        let index = self.tree.size();
        let stored = self
            .tree
            .append(leaf_hash(&bytes))
            .map_err(|error| BatchError::Tree(error.to_string()))?;
        for stored in stored {
            self.proving.insert(stored.index, stored.hash);
            self.hashes
                .push(json!([signed(stored.index), format!("{:x}", stored.hash)]));
        }
        let granted = i64::from(failed.is_none());
        let text = String::from_utf8_lossy(&bytes);
        self.leaves.push(json!([
            signed(index),
            hex::encode(id),
            granted,
            self.now.as_seconds(),
            text
        ]));
        for (position, (encoded, disclosure)) in
            disclosures.into_iter().zip(draft.values()).enumerate()
        {
            let value = search_key(&disclosure.name, &value_text(&disclosure.value));
            self.disclosures.push(json!([
                signed(index),
                position,
                encoded,
                disclosure.name,
                value
            ]));
        }
        Ok(Outcome::Leaf {
            index,
            leaf: bytes,
            failed,
        })
    }

    async fn write(&mut self, signer: &Signer) -> Result<Note, BatchError> {
        let rows = [
            (sql::LEAVES_ADD, &mut self.leaves),
            (sql::DISCLOSURES_ADD, &mut self.disclosures),
            (sql::HASHES_ADD, &mut self.hashes),
        ];
        for (statement, rows) in rows {
            let json = Value::from(std::mem::take(rows)).to_string();
            sqlx::query(statement)
                .bind(self.tenant.to_owned())
                .bind(json)
                .execute(&mut *self.db)
                .await?;
        }
        let root = self.tree.root();
        let note = Checkpoint::new(signer.name(), self.tree.size(), root)
            .and_then(|checkpoint| checkpoint.sign(signer))
            .map_err(|error| BatchError::Tree(error.to_string()))?;
        let moved = sqlx::query(sql::HEAD_MOVE)
            .bind(self.tenant.to_owned())
            .bind(signed(self.tree.size()))
            .bind(root.as_bytes().to_vec())
            .bind(note.to_string())
            .bind(self.now.as_millis())
            .bind(signed(self.before))
            .execute(&mut *self.db)
            .await?;
        if moved.rows_affected() == 1 {
            Ok(note)
        } else {
            Err(BatchError::Tree("the head has moved".into()))
        }
    }

    fn into_filled(self, note: Option<Note>) -> Result<Filled, BatchError> {
        let size = self.tree.size();
        let answer = |outcome| match (outcome, &note) {
            (Outcome::Invalid(why), _) => Ok(Err(JournalError::Invalid(why))),
            (Outcome::Leaf { .. }, None) => {
                Err(BatchError::Tree("a leaf without a checkpoint".into()))
            }
            (
                Outcome::Leaf {
                    index,
                    leaf,
                    failed,
                },
                Some(note),
            ) => {
                let proof = inclusion_proof(index, size, &self.proving)
                    .map_err(|error| BatchError::Tree(error.to_string()))?;
                let receipt = Receipt::new(index, proof, note.clone()).to_text();
                let commitment = Commitment {
                    index,
                    leaf,
                    receipt,
                };
                Ok(Ok(match failed {
                    None => Written::Granted(commitment),
                    Some(guard) => Written::Refused(commitment, guard),
                }))
            }
        };
        let answers = self
            .outcomes
            .into_iter()
            .map(answer)
            .collect::<Result<_, _>>()?;
        let state = LogState {
            tree: self.tree,
            time: self.now,
        };
        Ok(Filled {
            advanced: note.map(|note| Advanced {
                state,
                checkpoint: note.to_string(),
            }),
            answers,
        })
    }
}

/// The leaf, if it is one that the log's tiles and readers can hold.
fn seal(draft: &Draft, now: Timestamp) -> Result<SealedLeaf, String> {
    let sealed = draft.seal(now).map_err(|error| error.to_string())?;
    if sealed.bytes.len() > tlog::MAX_ENTRY_BYTES {
        return Err(format!(
            "its leaf has {} bytes, at most {} are possible",
            sealed.bytes.len(),
            tlog::MAX_ENTRY_BYTES
        ));
    }
    Ok(sealed)
}
