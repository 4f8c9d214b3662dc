//! People's SSH keys: whoever has a name has a key, made from it, so that a test can sign for anybody.

use std::collections::BTreeSet;

use estate::{ChangeRecord, Digest, Founders, PersonId};
use ledger::Actor;
use server::govern::{Applied, GovernError, Pending, Submitted};
use sshsig::SigningKey;

use crate::TestServer;

/// Those who sign the first version of every test server; in no team.
pub const FOUNDERS: [&str; 2] = ["fay@hospital.example", "gus@hospital.example"];

/// A person's key.
pub fn key_of(person: &str) -> SigningKey {
    let seed = Digest::of(format!("the SSH key of {person}"));
    SigningKey::generate_ed25519(*seed.as_bytes(), person).unwrap()
}

/// [`FOUNDERS`] with their keys; both must sign.
pub fn founders() -> Founders {
    let person = |id: &str| {
        let key = key_of(id).public_key().clone();
        (id.parse().unwrap(), BTreeSet::from([key.into()]))
    };
    Founders::new(FOUNDERS.map(person).into(), 2).unwrap()
}

impl TestServer {
    /// A person's signature of a change, armoured.
    pub fn sign(&self, person: &str, hash: Digest) -> String {
        let signature = key_of(person).sign(ChangeRecord::NAMESPACE, hash.to_string().as_bytes());
        signature.unwrap().armored()
    }

    /// Submits files as the host's root, without any signature.
    pub async fn submit(
        &self,
        files: Vec<(String, String)>,
        prune: bool,
    ) -> Result<Submitted, GovernError> {
        let submitted = self.server.submit(files, prune, Actor::LocalRoot, None);
        Ok(submitted.await?.0)
    }

    /// Submits files as a person who is authenticated.
    pub async fn submit_as(
        &self,
        person: &str,
        files: Vec<(String, String)>,
        prune: bool,
    ) -> Result<Submitted, GovernError> {
        let actor = Actor::Person(person.to_owned());
        let submitter = Some(person.parse().unwrap());
        Ok(self.server.submit(files, prune, actor, submitter).await?.0)
    }

    /// Lets a person sign a change that waits.
    pub async fn approve(&self, person: &str, pending: &Pending) -> Result<Submitted, GovernError> {
        let armored = self.sign(person, pending.hash);
        let number = pending.record.number;
        let approved = self
            .server
            .approve_change(number, &armored, Actor::LocalRoot);
        Ok(approved.await?.0)
    }

    /// Submits files as the host's root and signs for everybody whose signature is wanted.
    pub async fn apply(
        &self,
        files: Vec<(String, String)>,
        prune: bool,
    ) -> Result<Applied, GovernError> {
        let submitted = self.submit(files, prune).await?;
        self.agree(submitted).await
    }

    /// Signs for everybody whose signature is wanted until the change is in force.
    pub async fn agree(&self, mut submitted: Submitted) -> Result<Applied, GovernError> {
        loop {
            let pending = match submitted {
                Submitted::Applied(applied) => return Ok(*applied),
                Submitted::Waiting(pending) => pending,
            };
            let open = pending.plan.needs.iter();
            let wanted: Option<PersonId> = open
                .flat_map(|need| need.requirement.members.difference(&need.signed))
                .next()
                .cloned();
            submitted = self.approve(wanted.unwrap().as_str(), &pending).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_of_the_estate_have_the_keys_that_tests_sign_with() {
        let estate = estate::Estate::parse(&crate::files()).unwrap();
        for (id, person) in &estate.people().persons {
            let key = key_of(id.as_str()).public_key().clone().into();
            assert!(person.keys.contains(&key), "{id}: {key}");
        }
    }
}
