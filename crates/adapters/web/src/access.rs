//! Who calls, and whether a row of the table lets them in. Asked anew at each request, so that a person who left a team
//! loses what the team may do although the certificate lives on.

use estate::{ChangeId, DataSetName, LeaseId, PersonId, TeamName, Timestamp};
use ledger::Actor;
use server::{
    Server,
    ports::{DatabaseAccounts, Store, StoreError},
};

use crate::{
    ask::Ask,
    endpoints::{Endpoint, Role, Whose},
    wire::SealedFor,
};

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody that is known.
    Unknown,
    /// Root of this host, by the kernel's word.
    LocalRoot,
    /// A person, by client certificate.
    Person {
        /// Who.
        id: PersonId,
        /// End of the certificate: a connection does not outlive it.
        not_after: Timestamp,
    },
}

impl Caller {
    /// The name in leaves; `None` for somebody unknown.
    pub(crate) fn actor(&self) -> Option<Actor> {
        match self {
            Self::Unknown => None,
            Self::LocalRoot => Some(Actor::LocalRoot),
            Self::Person { id, .. } => Some(Actor::Person(id.to_string())),
        }
    }

    pub(crate) fn person(&self) -> Option<&PersonId> {
        match self {
            Self::Person { id, .. } => Some(id),
            Self::Unknown | Self::LocalRoot => None,
        }
    }
}

/// Whether one of the row's roles fits the caller.
pub(crate) async fn is_allowed<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    endpoint: &Endpoint,
    ask: &Ask,
) -> Result<bool, StoreError> {
    let teams = ask
        .caller
        .person()
        .map(|person| server.teams_of(person))
        .unwrap_or_default();
    for role in endpoint.roles {
        if fits(server, *role, ask, &teams).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn fits<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    role: Role,
    ask: &Ask,
    teams: &[String],
) -> Result<bool, StoreError> {
    let stands_in = |team: &str| teams.iter().any(|mine| mine == team);
    let robot = ask
        .caller
        .person()
        .is_some_and(|person| server.is_robot(person));
    Ok(match role {
        Role::LocalRoot => ask.caller == Caller::LocalRoot,
        Role::LabRoot => ask.caller == Caller::LocalRoot && server.is_lab(),
        Role::Party => is_party(server, ask).await?,
        Role::Robot => robot,
        // A robot is no person, whatever teams it was put into.
        _ if robot => false,
        Role::Anyone => !teams.is_empty(),
        Role::Platform => stands_in("platform"),
        Role::Security => stands_in("security"),
        Role::Audit => stands_in("audit"),
        Role::Owner(_) if teams.is_empty() => false,
        Role::Owner(Whose::Any) => owners(server).iter().any(|team| stands_in(team.as_str())),
        Role::Owner(whose) => match dataset(server, whose, ask).await? {
            Some(name) => {
                let world = server.world();
                world
                    .estate
                    .dataset(&name)
                    .is_some_and(|dataset| stands_in(dataset.owner.as_str()))
            }
            None => false,
        },
    })
}

/// Whether the caller has a say in the change that the path names.
async fn is_party<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<bool, StoreError> {
    let (Some(person), Ok(number)) = (ask.caller.person(), ask.parameter("number")) else {
        return Ok(false);
    };
    server.is_party(ChangeId(number), person).await
}

/// Every team that owns something.
fn owners<S: Store, A: DatabaseAccounts>(server: &Server<S, A>) -> Vec<TeamName> {
    let world = server.world();
    let of_data = world.estate.datasets().map(|dataset| dataset.owner.clone());
    of_data
        .chain(world.estate.image_sets().map(|set| set.owner.clone()))
        .collect()
}

async fn dataset<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    whose: Whose,
    ask: &Ask,
) -> Result<Option<DataSetName>, StoreError> {
    Ok(match whose {
        Whose::Any => None,
        Whose::DataSet => ask.parameter("dataset").ok(),
        Whose::Secret => ask.body::<SealedFor>().ok().map(|sealed| sealed.dataset),
        Whose::Lease => match ask.parameter::<LeaseId>("id") {
            Ok(id) => server.store().lease(&id).await?.map(|lease| lease.dataset),
            Err(_) => None,
        },
    })
}
