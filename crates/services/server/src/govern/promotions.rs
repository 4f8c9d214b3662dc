//! Promotions and retirements: changes that the server composes itself, from a promoter's statement or a person's word.

use std::sync::Arc;

use estate::{Digest, ImageSetName, PersonId, Promotions};
use ledger::{ActKind, Actor, Commitment};

use super::{GovernError, Submitted, changes::Origin};
use crate::{
    ports::{DatabaseAccounts, Store},
    server::Server,
    world::World,
};

impl<S: Store, A: DatabaseAccounts> Server<S, A> {
    /// Takes in a promoter's statement. Its signature counts, whoever brings it.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn promote(
        &self,
        set: &ImageSetName,
        envelope: &str,
        actor: Actor,
        person: Option<PersonId>,
    ) -> Result<(Submitted, Commitment), GovernError> {
        let _one_at_a_time = self.applying.lock().await;
        let world = self.world();
        let mut promotions = promotions_of(&world, set)?;
        let domain = self.trust_domain.to_string();
        promotions.add(&world.estate, &domain, envelope, self.now())?;
        let origin = Origin {
            kind: ActKind::ImagePromote,
            actor,
            submitter: person,
            prune: true,
        };
        self.keep(&world, &promotions, origin).await
    }

    /// Takes an image out of its set, for good.
    ///
    /// # Errors
    /// [`GovernError`]
    pub async fn retire(
        &self,
        set: &ImageSetName,
        config: Digest,
        actor: Actor,
        person: Option<PersonId>,
    ) -> Result<(Submitted, Commitment), GovernError> {
        let _one_at_a_time = self.applying.lock().await;
        let world = self.world();
        let mut promotions = promotions_of(&world, set)?;
        if !promotions.retire(&world.estate, config)? {
            return Err(GovernError::Conflict("it was retired before".to_owned()));
        }
        let origin = Origin {
            kind: ActKind::ImageRetire,
            actor,
            submitter: person,
            prune: true,
        };
        self.keep(&world, &promotions, origin).await
    }

    /// The version in force with another file of promotions.
    async fn keep(
        &self,
        world: &Arc<World>,
        promotions: &Promotions,
        origin: Origin,
    ) -> Result<(Submitted, Commitment), GovernError> {
        let path = promotions.path();
        let others = world.files.iter().filter(|(other, _)| *other != path);
        let mut files: Vec<_> = others.cloned().collect();
        files.push((path, promotions.to_text()));
        let next = self.checked(world, files)?;
        self.propose(world, next, origin).await
    }
}

fn promotions_of(world: &World, set: &ImageSetName) -> Result<Promotions, GovernError> {
    match world.estate.image_set(set) {
        Some(_) => Ok(world.estate.promotions(set)),
        None => Err(GovernError::NotFound {
            kind: "image set",
            name: set.to_string(),
        }),
    }
}
