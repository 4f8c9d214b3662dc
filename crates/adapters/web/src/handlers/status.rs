//! How the server is.

use server::{
    Server,
    ports::{DatabaseAccounts, Store},
};

use super::plain_reading;
use crate::{
    answer::{Failure, Reply},
    ask::Ask,
};

pub(super) async fn status<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let commitment = plain_reading(server, ask).await?;
    Reply::new(server.status().await?, commitment)
}
