//! Secrets as people handle them: sealed before they come, and never opened for a person.

use estate::{DataSetName, ImageSetName, SecretName};
use server::{
    Server,
    govern::SealedSecret,
    ports::{DatabaseAccounts, Store},
};

use super::plain_reading;
use crate::{
    answer::{Failure, Reply},
    ask::Ask,
    wire,
};

pub(super) async fn list<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let commitment = plain_reading(server, ask).await?;
    Reply::new(server.secrets().await?, commitment)
}

pub(super) async fn show<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let name: SecretName = ask.parameter("name")?;
    let commitment = plain_reading(server, ask).await?;
    Reply::new(server.show_secret(&name).await?, commitment)
}

pub(super) async fn put<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let name: SecretName = ask.parameter("name")?;
    let sealed: SealedSecret = ask.body()?;
    let version = sealed.version;
    let commitment = server.put_secret(&name, sealed, ask.actor()?).await?;
    Reply::new(
        serde_json::json!({ "name": name, "version": version, "value": "sealed" }),
        commitment,
    )
}

pub(super) async fn dataset_key<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let name: DataSetName = ask.parameter("name")?;
    ask.no_body()?;
    let (document, commitment) = server.dataset_key_document(&name, ask.actor()?).await?;
    Reply::new(wire::KeyDocument { document }, commitment)
}

pub(super) async fn image_key<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let name: ImageSetName = ask.parameter("name")?;
    ask.no_body()?;
    let (document, commitment) = server.image_key_document(&name, ask.actor()?).await?;
    Reply::new(wire::KeyDocument { document }, commitment)
}
