//! Questions about the rules in force, asked through the same evaluation as requests.

use std::collections::BTreeSet;

use ::policy::{Facts, Measured, Target};
use estate::{
    Ask as Question, AskObject, Assurance, DataSetName, Digest, Epoch, Estate, Grantor, PersonId,
    Requirement,
};
use evidence::{Action, Attestor, NodeFacts};
use ledger::ActKind;
use server::{
    Server,
    ports::{DatabaseAccounts, Store},
};

use super::reading;
use crate::{
    answer::{Failure, Reply},
    ask::Ask,
    wire,
};

pub(super) async fn who_can<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let question = parse(&ask.body::<wire::Question>()?.ask)?;
    let commitment = reading(
        server,
        ask,
        ActKind::AdminRead,
        &format!("who-can {question}"),
    )
    .await?;
    let world = server.world();
    let answer = world.policies.who_can(&question, server.now());
    let dataset = dataset(server, &world.estate, &question.object).await?;
    let could_grant = dataset.map(|dataset| server.grantors(&dataset));
    let permitted = answer.rows.iter().map(wire::Access::from).collect();
    Reply::new(
        wire::WhoCan {
            ask: question.to_string(),
            permitted,
            refused: answer.refused,
            could_grant: could_grant
                .unwrap_or_default()
                .into_iter()
                .map(grantor)
                .collect(),
        },
        commitment,
    )
}

pub(super) async fn explain<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    let asked: wire::ExplainQuestion = ask.body()?;
    let question = parse(&asked.ask)?;
    let commitment = reading(
        server,
        ask,
        ActKind::AdminRead,
        &format!("explain {question}"),
    )
    .await?;
    let world = server.world();
    let action = action(&question)?;
    let target = target(server, &world.estate, &question.object).await?;
    let facts = facts(server, &asked, action).await?;
    let explained = world
        .policies
        .explain(&facts, action, &target, server.now());
    let answer = wire::Explanation {
        question: explained.question,
        permitted: explained.evaluation.is_allowed(),
        answer: explained.evaluation.to_string(),
        facts: explained.facts,
        lacks: explained
            .permits
            .into_iter()
            .map(|(rule, lacks)| (rule.to_string(), lacks))
            .collect(),
    };
    Reply::new(answer, commitment)
}

/// The data set that a question is about; identities belong to none.
async fn dataset<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    estate: &Estate,
    object: &AskObject,
) -> Result<Option<DataSetName>, Failure> {
    Ok(match object {
        AskObject::ImageKey(name) => estate.image_set(name).map(|set| set.dataset.clone()),
        AskObject::Credential(name) => estate.credential(name).map(|found| found.dataset.clone()),
        AskObject::Secret(name) => server.store().secret(name).await?.map(|row| row.dataset),
        AskObject::DataSet(name) => Some(name.clone()),
        AskObject::Identity => None,
    })
}

fn grantor(way: Grantor) -> wire::Grantor {
    match way {
        Grantor::Change { way, requirements } => {
            let people: BTreeSet<PersonId> = requirements
                .iter()
                .flat_map(|one| one.members.iter().cloned())
                .collect();
            wire::Grantor {
                way,
                teams: requirements
                    .iter()
                    .map(|one| format!("{} of {}", one.wanted, one.team))
                    .collect(),
                must_agree: must_agree(&requirements),
                people: people.into_iter().collect(),
            }
        }
        Grantor::Promoter { image_set, key } => wire::Grantor {
            way: format!("promoting an image into `{image_set}` with the private key of `{key}`"),
            teams: Vec::new(),
            must_agree: 1,
            people: Vec::new(),
        },
    }
}

/// The fewest people who can meet all of these: one person may stand in several of the teams.
fn must_agree(requirements: &[Requirement]) -> usize {
    let wanted = requirements.iter().map(|one| one.wanted);
    let members = requirements.iter().flat_map(|one| &one.members);
    let distinct: BTreeSet<&PersonId> = members.clone().collect();
    if distinct.len() == members.count() {
        wanted.sum()
    } else {
        wanted.max().unwrap_or_default()
    }
}

fn parse(text: &str) -> Result<Question, Failure> {
    text.parse()
        .map_err(|error: estate::AskError| Failure::malformed(error.to_string()))
}

fn action(question: &Question) -> Result<Action, Failure> {
    [
        Action::Open,
        Action::Start,
        Action::Read,
        Action::Lease,
        Action::Issue,
    ]
    .into_iter()
    .find(|action| action.as_str() == question.verb)
    .ok_or_else(|| Failure::malformed(format!("nobody is asked to {}", question.verb)))
}

async fn target<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    estate: &Estate,
    object: &AskObject,
) -> Result<Target, Failure> {
    match object {
        AskObject::ImageKey(name) => Ok(Target::ImageKey(name.clone())),
        AskObject::Credential(name) => {
            let found = estate
                .credential(name)
                .ok_or_else(|| Failure::not_found("credential", name))?;
            Ok(Target::Credential(name.clone(), found.dataset.clone()))
        }
        AskObject::Secret(name) => {
            let found = server
                .store()
                .secret(name)
                .await?
                .ok_or_else(|| Failure::not_found("secret", name))?;
            Ok(Target::Secret(name.clone(), found.dataset))
        }
        AskObject::Identity => Ok(Target::Identity),
        AskObject::DataSet(_) => Err(Failure::malformed(
            "ask about one image key, secret or credential of the data set".to_owned(),
        )),
    }
}

/// The node as it last attested, and its workload as good as it can be measured.
async fn facts<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    asked: &wire::ExplainQuestion,
    action: Action,
) -> Result<Facts, Failure> {
    let row = server.store().node(&asked.node).await?;
    let world = server.world();
    if row.is_none() && world.estate.node(&asked.node).is_none() {
        return Err(Failure::not_found("node", &asked.node));
    }
    let attestor = row.as_ref().map_or(Attestor::JoinToken, |row| row.attestor);
    let node = NodeFacts {
        name: asked.node.clone(),
        cluster: None,
        location: None,
        assurance: match attestor {
            Attestor::Tpm => Assurance::ENROLLED,
            Attestor::JoinToken => Assurance::OWN_WORD,
        },
        attestor,
        boot: row.as_ref().and_then(|row| row.boot.clone()),
        quoted_at: row.as_ref().and_then(|row| row.quoted_at),
        epoch: row.as_ref().map_or(Epoch::default(), |row| row.epoch),
    };
    let placed = world.policies.facts_from(&node, None, server.now());
    if action == Action::Open {
        return Ok(placed);
    }
    let image = match &asked.image {
        Some(name) => {
            let set = world
                .estate
                .image_set(name)
                .ok_or_else(|| Failure::not_found("image set", name))?;
            set.digests
                .first()
                .copied()
                .unwrap_or_else(|| Digest::of(name.as_str()))
        }
        None => Digest::of("an image in no set"),
    };
    Ok(Facts {
        workload: Some(Measured::ideal(image, asked.image.clone())),
        ..placed
    })
}
