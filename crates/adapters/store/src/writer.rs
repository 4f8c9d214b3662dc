//! The one task that writes: it owns the writing connection and the tree's edge.

use std::sync::Arc;

use estate::TenantName;
use ledger::{Entry, JournalError, Written};
use server::ports::{Clock, StoreError};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tlog::Signer;
use tokio::sync::{mpsc, oneshot};

use crate::{
    batch::{Batch, BatchError, Filled},
    head::HeadFile,
    open::check_durable,
    state::{self, LogState},
    statements as sql,
};

/// What the writer is asked.
pub(crate) enum Message {
    /// Append this entry.
    Append(Box<Entry>, Answer),
    /// Finish what came before and end.
    Close(oneshot::Sender<()>),
}

pub(crate) type Answer = oneshot::Sender<Result<Written, JournalError>>;

/// The writer's belongings.
pub(crate) struct Writer {
    pub(crate) options: SqliteConnectOptions,
    pub(crate) tenant: TenantName,
    pub(crate) signer: Signer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) head_file: Option<HeadFile>,
    /// Absent after a failure: the next batch connects and reads the edge anew.
    pub(crate) edge: Option<Edge>,
}

/// A connection and the edge that was read through it.
pub(crate) struct Edge {
    pub(crate) db: SqliteConnection,
    pub(crate) state: LogState,
}

enum Failed {
    /// Nothing was written.
    Before(String),
    /// `COMMIT` was sent and did not succeed.
    AtCommit,
}

impl Writer {
    /// Serves until every sender is gone or one says to close.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(BATCH);
        while inbox.recv_many(&mut messages, BATCH).await > 0 {
            let mut entries = Vec::with_capacity(messages.len());
            let mut answers = Vec::with_capacity(messages.len());
            let mut closing = None;
            for message in messages.drain(..) {
                match message {
                    Message::Append(entry, answer) if closing.is_none() => {
                        entries.push(*entry);
                        answers.push(answer);
                    }
                    Message::Append(_, answer) => drop(answer.send(Err(closed()))),
                    Message::Close(done) => closing = Some(done),
                }
            }
            if !entries.is_empty() {
                self.serve(entries, answers).await;
            }
            if let Some(done) = closing {
                inbox.close();
                self.close().await;
                done.send(()).ok();
                return;
            }
        }
        self.close().await;
    }

    async fn serve(&mut self, entries: Vec<Entry>, answers: Vec<Answer>) {
        match self.commit(entries).await {
            Ok(filled) => {
                for (answer, written) in answers.into_iter().zip(filled.answers) {
                    // Whoever stopped waiting finds the leaf in the log.
                    drop(answer.send(written));
                }
                if let Some(advanced) = filled.advanced {
                    self.keep_head(&advanced.checkpoint);
                }
            }
            Err(failed) => {
                self.edge = None;
                let error = match failed {
                    Failed::Before(why) => JournalError::Unavailable(why),
                    Failed::AtCommit => JournalError::Uncertain,
                };
                tracing::error!(%error, entries = answers.len(), "a batch was not written");
                for answer in answers {
                    drop(answer.send(Err(error.clone())));
                }
            }
        }
    }

    async fn commit(&mut self, entries: Vec<Entry>) -> Result<Filled, Failed> {
        let now = self.clock.now();
        let mut edge = match self.edge.take() {
            Some(edge) => edge,
            None => self
                .connect()
                .await
                .map_err(|error| Failed::Before(error.to_string()))?,
        };
        sqlx::query(sql::BEGIN)
            .execute(&mut edge.db)
            .await
            .map_err(|error| Failed::Before(error.to_string()))?;
        self.follow(&mut edge)
            .await
            .map_err(|error| Failed::Before(error.to_string()))?;
        let before = |error: BatchError| Failed::Before(error.to_string());
        let batch =
            Batch::new(&mut edge.db, self.tenant.as_str(), &edge.state, now).map_err(before)?;
        let filled = batch.fill(entries, &self.signer).await.map_err(before)?;
        if let Some(advanced) = &filled.advanced {
            sqlx::query(sql::COMMIT)
                .execute(&mut edge.db)
                .await
                .map_err(|_| Failed::AtCommit)?;
            edge.state = advanced.state.clone();
        } else {
            let undone = sqlx::query(sql::ROLLBACK).execute(&mut edge.db).await;
            undone.map_err(|error| Failed::Before(error.to_string()))?;
        }
        // Only now: on every way out above, the connection is dropped and its transaction with it.
        self.edge = Some(edge);
        Ok(filled)
    }

    /// Another process may have written since: the edge in memory must be the stored one.
    async fn follow(&self, edge: &mut Edge) -> Result<(), StoreError> {
        let head = state::head(&mut edge.db, self.tenant.as_str()).await?;
        let same =
            head.size == edge.state.tree.size() && head.root == edge.state.tree.root().as_bytes();
        if !same {
            edge.state = LogState::load(
                &mut edge.db,
                self.tenant.as_str(),
                &self.signer.verifier_key(),
            )
            .await?;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Edge, StoreError> {
        let unavailable = |error: sqlx::Error| StoreError::Unavailable(error.to_string());
        let mut db = self.options.connect().await.map_err(unavailable)?;
        check_durable(&mut db)
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let state =
            LogState::load(&mut db, self.tenant.as_str(), &self.signer.verifier_key()).await?;
        Ok(Edge { db, state })
    }

    fn keep_head(&mut self, checkpoint: &str) {
        let Some(file) = &mut self.head_file else {
            return;
        };
        if let Err(error) = file.write(checkpoint) {
            tracing::warn!(%error, "the head file could not be written");
        }
    }

    async fn close(&mut self) {
        let Some(edge) = self.edge.take() else { return };
        if let Err(error) = edge.db.close().await {
            tracing::warn!(%error, "the database was not closed cleanly");
        }
    }
}

pub(crate) fn closed() -> JournalError {
    JournalError::Unavailable("the store is closed".into())
}

const BATCH: usize = 256;
