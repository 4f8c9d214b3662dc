//! What is asked for, and how rules see it.

use std::collections::HashSet;
use std::fmt;

use cedar_policy::{Entity, EntityUid, RestrictedExpression};
use estate::{CredentialName, DataSet, DataSetName, Estate, ImageSetName, SecretName};
use serde::Serialize;

use crate::vocabulary::{Vocabulary, uid};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The key of an image set's images.
    ImageKey(ImageSetName),
    /// A secret, and the data set that it was put into.
    Secret(SecretName, DataSetName),
    /// A credential, and its data set.
    Credential(CredentialName, DataSetName),
    /// An identity.
    Identity,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageKey(name) => write!(f, "ImageKey::\"{name}\""),
            Self::Secret(name, _) => write!(f, "Secret::\"{name}\""),
            Self::Credential(name, _) => write!(f, "Credential::\"{name}\""),
            Self::Identity => f.write_str("Identity"),
        }
    }
}

/// A target with what the estate says of it.
#[derive(Debug)]
pub(crate) struct Resource<'e> {
    pub(crate) uid: EntityUid,
    pub(crate) dataset: Option<&'e DataSet>,
    attributes: Vec<(&'static str, RestrictedExpression)>,
}

impl<'e> Resource<'e> {
    /// `None` when the estate has no such thing, or has it in another data set.
    pub(crate) fn of(target: &Target, estate: &'e Estate, words: &Vocabulary) -> Option<Self> {
        let (uid, dataset) = match target {
            Target::ImageKey(name) => (
                uid(&words.image_key, name),
                estate.dataset(&estate.image_set(name)?.dataset)?,
            ),
            Target::Secret(name, dataset) => (uid(&words.secret, name), estate.dataset(dataset)?),
            Target::Credential(name, dataset) => {
                let credential = estate
                    .credential(name)
                    .filter(|credential| credential.dataset == *dataset)?;
                (
                    uid(&words.credential, name),
                    estate.dataset(&credential.dataset)?,
                )
            }
            Target::Identity => {
                return Some(Self {
                    uid: uid(&words.identity, "svid"),
                    dataset: None,
                    attributes: Vec::new(),
                });
            }
        };
        let level = i64::from(dataset.min_assurance.level());
        let confidential = RestrictedExpression::new_bool(dataset.confidential);
        let mut attributes = vec![
            ("minAssurance", RestrictedExpression::new_long(level)),
            ("confidential", confidential),
        ];
        if let Target::Secret(name, _) = target {
            let is_login = estate.databases().any(|database| database.login == *name);
            attributes.push(("isLogin", RestrictedExpression::new_bool(is_login)));
        }
        Some(Self {
            uid,
            dataset: Some(dataset),
            attributes,
        })
    }

    /// The entity itself, its data set and its tenant.
    pub(crate) fn entities(self, words: &Vocabulary) -> Result<Vec<Entity>, String> {
        let mut entities = Vec::new();
        let mut parents = HashSet::new();
        if let Some(dataset) = self.dataset {
            let own = uid(&words.dataset, &dataset.name);
            let tenant = uid(&words.tenant, &dataset.tenant);
            entities.push(Entity::new_no_attrs(
                own.clone(),
                HashSet::from([tenant.clone()]),
            ));
            entities.push(Entity::new_no_attrs(tenant, HashSet::new()));
            parents.insert(own);
        }
        let attributes = self
            .attributes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        entities
            .push(Entity::new(self.uid, attributes, parents).map_err(|error| error.to_string())?);
        Ok(entities)
    }
}
