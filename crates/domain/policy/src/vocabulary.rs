//! The types and actions of the schema, looked up once. Ids are made from typed names, never by formatting text.

use std::fmt;
use std::str::FromStr;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};
use evidence::Action;

use crate::PolicyError;

/// The schema that comes with the program, in Cedar's own notation.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// The schema and the names in it.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) schema: Schema,
    pub(crate) tenant: EntityTypeName,
    pub(crate) dataset: EntityTypeName,
    pub(crate) location: EntityTypeName,
    pub(crate) cluster: EntityTypeName,
    pub(crate) node: EntityTypeName,
    pub(crate) image_set: EntityTypeName,
    pub(crate) image: EntityTypeName,
    pub(crate) workload: EntityTypeName,
    pub(crate) image_key: EntityTypeName,
    pub(crate) secret: EntityTypeName,
    pub(crate) credential: EntityTypeName,
    pub(crate) identity: EntityTypeName,
    action: EntityTypeName,
}

impl Vocabulary {
    pub(crate) fn load() -> Result<Self, PolicyError> {
        let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA).map_err(shipped)?;
        if let Some(warning) = warnings.into_iter().next() {
            return Err(shipped(warning));
        }
        let name = |text: &str| EntityTypeName::from_str(text).map_err(shipped);
        Ok(Self {
            schema,
            tenant: name("Tenant")?,
            dataset: name("DataSet")?,
            location: name("Location")?,
            cluster: name("Cluster")?,
            node: name("Node")?,
            image_set: name("ImageSet")?,
            image: name("Image")?,
            workload: name("Workload")?,
            image_key: name("ImageKey")?,
            secret: name("Secret")?,
            credential: name("Credential")?,
            identity: name("Identity")?,
            action: name("Action")?,
        })
    }

    pub(crate) fn action(&self, action: Action) -> EntityUid {
        uid(&self.action, action.as_str())
    }
}

/// The entity of a type with a typed name as its id.
pub(crate) fn uid(kind: &EntityTypeName, id: impl AsRef<str>) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

pub(crate) fn shipped(error: impl fmt::Display) -> PolicyError {
    PolicyError::Shipped {
        message: error.to_string(),
    }
}

/// All actions, in the order of a workload's life.
pub(crate) const ACTIONS: [Action; 5] = [
    Action::Open,
    Action::Start,
    Action::Read,
    Action::Lease,
    Action::Issue,
];
