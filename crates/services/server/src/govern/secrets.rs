//! Secrets as people handle them: sealed when they come, and shown without their value.

use std::collections::BTreeMap;

use estate::Timestamp;

use super::*;

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Stores a secret that the client sealed.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn put_secret(
        &self,
        name: &SecretName,
        sealed: SealedSecret,
        actor: Actor,
    ) -> Result<Commitment, GovernError> {
        let row = secret_row(name, sealed, &actor)?;
        if self.world().estate.dataset(&row.dataset).is_none() {
            return Err(GovernError::NotFound {
                kind: "data set",
                name: row.dataset.to_string(),
            });
        }
        let previous = self.store.secret(name).await?;
        let newest = previous.as_ref().map_or(0, |row| row.version);
        if previous.is_some_and(|previous| previous.dataset != row.dataset) {
            return Err(GovernError::Secret(
                "a secret can't move to another data set",
            ));
        }
        if row.version != newest + 1 {
            return Err(GovernError::Conflict(format!(
                "the newest version is {newest}"
            )));
        }
        if !self.custody().holds_key_of(&row) {
            return Err(GovernError::Secret(
                "it is not sealed to the data set's key",
            ));
        }
        let act = Act::new(ActKind::SecretPut, actor)
            .field("target", format!("secret `{name}`"))
            .field("dataset", row.dataset.to_string())
            .field("version", row.version)
            .guard(Guard::SecretVersion(name.clone(), newest))
            .effect(Effect::Secret(Box::new(row)));
        Ok(self.ledger.record(act).await?.commitment().clone())
    }

    /// All secrets, without their values.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn secrets(&self) -> Result<Vec<SecretSummary>, StoreError> {
        let exposed: BTreeMap<SecretName, Timestamp> =
            self.store.secrets_exposed().await?.into_iter().collect();
        let secrets = self.store.secrets().await?.into_iter();
        Ok(secrets
            .map(|row| {
                let since = exposed.get(&row.name).copied();
                summary(row, since)
            })
            .collect())
    }

    /// One secret, without its value.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn show_secret(&self, name: &SecretName) -> Result<SecretSummary, GovernError> {
        let mut exposed = self.store.secrets_exposed().await?.into_iter();
        let since = exposed.find(|(exposed, _)| exposed == name);
        let found = self.store.secret(name).await?;
        let found = found.map(|row| summary(row, since.map(|(_, since)| since)));
        found.ok_or_else(|| GovernError::NotFound {
            kind: "secret",
            name: name.to_string(),
        })
    }
}

pub(super) fn summary(row: SecretRow, exposed: Option<Timestamp>) -> SecretSummary {
    SecretSummary {
        name: row.name,
        value: "sealed".to_owned(),
        version: row.version,
        dataset: row.dataset,
        suite: row.suite,
        by: row.by,
        exposed: exposed.is_some(),
        since: exposed.map(|since| since.to_string()),
    }
}

pub(super) fn secret_row(
    name: &SecretName,
    sealed: SealedSecret,
    actor: &Actor,
) -> Result<SecretRow, GovernError> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let SealedSecret {
        version,
        dataset,
        suite,
        key_id,
        enc,
        ct,
    } = sealed;
    let key_id = key_id
        .parse()
        .map_err(|_| GovernError::Secret("its key id is not a digest"))?;
    let decode = |text: &str| {
        STANDARD
            .decode(text)
            .map_err(|_| GovernError::Secret("it is not base64"))
    };
    let (enc, ct) = (decode(&enc)?, decode(&ct)?);
    if ct.len() > MAX_CIPHERTEXT {
        return Err(GovernError::Secret("it is too large"));
    }
    Ok(SecretRow {
        name: name.clone(),
        version,
        dataset,
        suite,
        key_id,
        enc,
        ct,
        by: actor.to_string(),
    })
}

const MAX_CIPHERTEXT: usize = 65 * 1024;
