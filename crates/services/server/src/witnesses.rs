//! Agents as witnesses: each says at connecting how far it saw the ledger grow. A database that was put back, head file and
//! all, is found by that, and then nobody is answered from it.

use std::{
    collections::BTreeSet,
    sync::{Mutex, OnceLock, PoisonError},
};

use estate::NodeName;
use ledger::{Act, ActKind, Actor};
use tlog::{Checkpoint, Hash, Note, VerifiedCheckpoint, VerifierKey, verify_consistency};

use crate::{
    nodes::chain,
    ports::{DatabaseAccounts, Store, StoreError},
    server::Server,
};

/// This server's ledger is not the one that its clients know. Known until the process ends, and found again at the next
/// connection of such an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrusted {
    /// Fault: whoever put an old database back.
    #[error("this server's ledger was rolled back: node `{node}` holds a later checkpoint")]
    RolledBack {
        /// Who holds it.
        node: NodeName,
    },
    /// Fault: whoever ran two servers from one database, or put an old one back.
    #[error(
        "this server's ledger was rolled back: node `{node}` holds a checkpoint of another tree"
    )]
    Forked {
        /// Who holds it.
        node: NodeName,
    },
}

/// What agents said since the start.
#[derive(Debug, Default)]
pub(crate) struct Witnesses {
    distrusted: OnceLock<Distrusted>,
    /// Nodes whose checkpoint lies in this tree.
    agreed: Mutex<BTreeSet<NodeName>>,
}

/// How somebody's checkpoint stands to this tree.
enum Relation {
    Within,
    Beyond,
    Beside,
}

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Whether this server's ledger is the one that its clients know, as far as any said.
    ///
    /// # Errors
    /// [`Distrusted`]
    pub fn trusted(&self) -> Result<(), Distrusted> {
        self.witnesses
            .distrusted
            .get()
            .map_or(Ok(()), |why| Err(why.clone()))
    }

    /// Compares the newest checkpoint that an agent holds with this tree. What is not signed by this log's own key says
    /// nothing: a node must not be able to stop the server by rubbish.
    pub(crate) async fn hear(&self, node: &NodeName, note: &str) -> Result<(), StoreError> {
        if note.is_empty() {
            return Ok(());
        }
        let Some(theirs) = self.own_checkpoint(note) else {
            tracing::warn!(%node, "a node's checkpoint is not signed by this log and was ignored");
            return Ok(());
        };
        let why = match self.stands(&theirs).await? {
            Relation::Within => {
                let mut agreed = self.agreed();
                agreed.insert(node.clone());
                return Ok(());
            }
            Relation::Beyond => Distrusted::RolledBack { node: node.clone() },
            Relation::Beside => Distrusted::Forked { node: node.clone() },
        };
        self.distrust(why, node, &theirs, note).await;
        Ok(())
    }

    /// A checkpoint that this log signed, at some time.
    pub(crate) fn own_checkpoint(&self, note: &str) -> Option<VerifiedCheckpoint> {
        if note.len() > LONGEST_NOTE {
            return None;
        }
        let key: VerifierKey = self.ledger_key.parse().ok()?;
        Checkpoint::open(&Note::parse(note).ok()?, &key).ok()
    }

    async fn stands(&self, theirs: &VerifiedCheckpoint) -> Result<Relation, StoreError> {
        let unreadable = || StoreError::Corrupt("the newest checkpoint".to_owned());
        // No tree of that size here: only one that has not grown so far says so.
        let Some((proof, newest)) = self.store.consistency(theirs.size()).await? else {
            return Ok(Relation::Beyond);
        };
        let ours = self.own_checkpoint(&newest).ok_or_else(unreadable)?;
        let proof: Vec<Hash> = proof.into_iter().map(Hash::from).collect();
        let (old, new) = (theirs.size(), ours.size());
        match verify_consistency(&proof, old, new, theirs.root(), ours.root()) {
            Ok(()) => Ok(Relation::Within),
            Err(_) => Ok(Relation::Beside),
        }
    }

    /// First nobody is answered any more; then it is recorded, if that can still be.
    async fn distrust(
        &self,
        why: Distrusted,
        node: &NodeName,
        theirs: &VerifiedCheckpoint,
        note: &str,
    ) {
        if self.witnesses.distrusted.set(why.clone()).is_err() {
            return;
        }
        self.ledger.distrust(why.to_string());
        tracing::error!(%node, size = theirs.size(), "{why}; nothing is released any more");
        let act = Act::new(ActKind::ForkReported, Actor::Authority)
            .field("node", node.to_string())
            .field("reason", why.to_string())
            .field("size", theirs.size())
            .field("checkpoint", note);
        if let Err(error) = self.ledger.record(act).await {
            tracing::error!(error = %chain(&error), "the report could not be recorded");
        }
    }

    /// What an operator should know about roll-back: lines for `status`.
    pub(crate) async fn rollback_lines(&self) -> Result<Vec<String>, StoreError> {
        let mut lines = Vec::new();
        if let Err(why) = self.trusted() {
            lines.push(format!(
                "{why}; nothing is released, and nobody can change anything"
            ));
        }
        let checked = self.store.rollback_warning().await?;
        let checked = checked.unwrap_or_else(|| "rollback: checked with head file".to_owned());
        let agents = self.agreed().len();
        lines.push(format!("{checked}, {agents} agents since start"));
        Ok(lines)
    }

    fn agreed(&self) -> std::sync::MutexGuard<'_, BTreeSet<NodeName>> {
        self.witnesses
            .agreed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A checkpoint with a few witnesses' signatures is shorter.
const LONGEST_NOTE: usize = 16 * 1024;
