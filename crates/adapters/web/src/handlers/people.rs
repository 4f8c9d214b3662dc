//! People's client certificates, for keys that they made themselves.

use base64::{Engine, engine::general_purpose::STANDARD as B64};
use estate::PersonId;
use server::{
    Server,
    ports::{DatabaseAccounts, Store},
};

use crate::{
    answer::{Failure, Reply},
    ask::Ask,
    wire,
};

pub(super) async fn certificate<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let person: PersonId = ask.parameter("id")?;
    let wire::KeyToCertify { spki } = ask.body()?;
    let spki = B64
        .decode(spki)
        .map_err(|_| Failure::malformed("`spki` is not base64".to_owned()))?;
    let (chain, commitment) = server
        .person_certificate(&person, &spki, ask.actor()?)
        .await?;
    Reply::new(
        wire::Chain {
            chain: chain.iter().map(|der| B64.encode(der)).collect(),
        },
        Some(commitment),
    )
}
