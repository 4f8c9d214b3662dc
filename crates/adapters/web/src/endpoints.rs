//! The one table of the HTTP API: who may call what, and which leaf it writes. Routers, client and tests are made from
//! it; an endpoint that is not here does not exist.

use ledger::ActKind;

/// One endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// HTTP method.
    pub method: Method,
    /// Path with parameters in braces; `{*…}` takes slashes, too.
    pub path: &'static str,
    /// Whether a caller must be known.
    pub authentication: Authentication,
    /// Which of the known callers may call it; one role that fits is enough.
    pub roles: &'static [Role],
    /// The leaf that a success writes; none for public material.
    pub ledger: Option<ActKind>,
    /// Query parameters; any other is refused.
    pub query: &'static [Query],
    /// What it does.
    pub call: Call,
}

/// HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Replaces.
    Put,
    /// Does.
    Post,
}

/// Whether a caller must be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Anybody.
    Public,
    /// Root of this host by the kernel's word on the local socket, or a person by a client certificate.
    Known,
}

/// What lets a known caller in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Root of the server's host, on the local socket.
    LocalRoot,
    /// The same in a lab alone: where there is anything to lose, it hands secrets, tokens and the trail to nobody.
    LabRoot,
    /// A program that the estate names as a robot: whatever teams it stands in, it has no other role.
    Robot,
    /// Who submitted the change that the path names, or could bring it into force or sign it.
    Party,
    /// Any person who stands in a team.
    Anyone,
    /// Team `platform`.
    Platform,
    /// Team `security`.
    Security,
    /// Team `audit`.
    Audit,
    /// The team that owns it.
    Owner(Whose),
}

/// Whose owners are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Any data set or image set.
    Any,
    /// The data set that the path names.
    DataSet,
    /// The data set of the lease that the path names.
    Lease,
    /// The data set that the sealed secret in the body is for.
    Secret,
}

/// A query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// At most once.
    Once(&'static str),
    /// Any number of times.
    Many(&'static str),
}

/// What an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// How the server is.
    Status,
    /// What an estate would change.
    Diff,
    /// Submits an estate.
    Apply,
    /// Changes of the estate.
    Changes,
    /// One change of the estate.
    Change,
    /// Brings a signature for a change.
    Approve,
    /// Rejects or withdraws a change.
    Reject,
    /// Brings a promoter's statement.
    Promote,
    /// Takes an image out of its set.
    Retire,
    /// Nodes of the inventory and those that attested.
    Nodes,
    /// One node.
    Node,
    /// Bans a node.
    Ban,
    /// Makes a node's one-time token.
    Token,
    /// Secrets without their values.
    Secrets,
    /// One secret without its value.
    Secret,
    /// Stores a sealed secret.
    PutSecret,
    /// Key document of a data set.
    DataSetKey,
    /// Key document of an image set.
    ImageKey,
    /// Leases.
    Leases,
    /// Ends a lease.
    Revoke,
    /// Who can do something.
    WhoCan,
    /// Why a request is answered as it is.
    Explain,
    /// Searches the trail.
    Search,
    /// Who received anything of a data set.
    Who,
    /// One leaf with its proof.
    Receipt,
    /// Recomputes the log.
    Verify,
    /// A person's certificate.
    Certificate,
    /// SPIFFE bundle document.
    Bundle,
    /// Newest checkpoint.
    Checkpoint,
    /// A tile of hashes.
    Tile,
    /// A bundle of leaves.
    Entries,
}

impl Method {
    /// The method's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
        }
    }
}

impl Query {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Once(name) | Self::Many(name) => name,
        }
    }
}

impl Call {
    /// Its row.
    pub fn endpoint(self) -> Option<&'static Endpoint> {
        ENDPOINTS.iter().find(|endpoint| endpoint.call == self)
    }
}

const EVERYBODY: &[Role] = &[Role::LocalRoot, Role::Anyone];
const AND_ROBOTS: &[Role] = &[Role::LocalRoot, Role::Anyone, Role::Robot];
const PEOPLE: &[Role] = &[Role::LabRoot, Role::Anyone];
const SUBMITTERS: &[Role] = &[
    Role::LocalRoot,
    Role::Platform,
    Role::Security,
    Role::Owner(Whose::Any),
    Role::Robot,
];
const PARTIES: &[Role] = &[Role::LocalRoot, Role::Party];
const PROMOTERS: &[Role] = &[
    Role::LocalRoot,
    Role::Platform,
    Role::Owner(Whose::Any),
    Role::Robot,
];
const OPERATORS: &[Role] = &[
    Role::LocalRoot,
    Role::Platform,
    Role::Security,
    Role::Owner(Whose::Any),
];
const PLATFORM: &[Role] = &[Role::LabRoot, Role::Platform];
const SECURITY: &[Role] = &[Role::LocalRoot, Role::Security];
const KEEPERS: &[Role] = &[Role::LabRoot, Role::Owner(Whose::Secret)];
const REVOKERS: &[Role] = &[
    Role::LocalRoot,
    Role::Platform,
    Role::Security,
    Role::Owner(Whose::Lease),
];
const AUDITORS: &[Role] = &[Role::LabRoot, Role::Audit];
const READERS: &[Role] = &[Role::LabRoot, Role::Audit, Role::Owner(Whose::DataSet)];
/// Public rows need no role.
const NOBODY: &[Role] = &[];

const SEARCH: &[Query] = &[Many("field"), Once("since"), Once("until"), Once("limit")];

use ActKind::{
    AdminRead, AuditRead, ChangeApprove, ChangeReject, ChangeSubmit, ImagePromote, ImageRetire,
    KeyDocument, LeaseEnd, NodeBan, NodeToken, PersonCertificate, SecretPut,
};
use Authentication::{Known, Public};
use Method::{Get, Post, Put};
use Query::{Many, Once};

/// All endpoints: one line each, so that a column can be read down.
#[rustfmt::skip]
pub static ENDPOINTS: [Endpoint; 31] = [
    row(Get,  "/v1/status",                   Known,  AND_ROBOTS, Some(AdminRead),         &[],            Call::Status),
    row(Post, "/v1/estate/diff",              Known,  EVERYBODY,  Some(AdminRead),         &[],            Call::Diff),
    row(Post, "/v1/estate/apply",             Known,  SUBMITTERS, Some(ChangeSubmit),      &[],            Call::Apply),
    row(Get,  "/v1/changes",                  Known,  AND_ROBOTS, Some(AdminRead),         &[],            Call::Changes),
    row(Get,  "/v1/changes/{number}",         Known,  AND_ROBOTS, Some(AdminRead),         &[],            Call::Change),
    row(Post, "/v1/changes/{number}/approve", Known,  EVERYBODY,  Some(ChangeApprove),     &[],            Call::Approve),
    row(Post, "/v1/changes/{number}/reject",  Known,  PARTIES,    Some(ChangeReject),      &[],            Call::Reject),
    row(Post, "/v1/images/{name}/promote",    Known,  PROMOTERS,  Some(ImagePromote),      &[],            Call::Promote),
    row(Post, "/v1/images/{name}/retire",     Known,  OPERATORS,  Some(ImageRetire),       &[],            Call::Retire),
    row(Get,  "/v1/nodes",                    Known,  EVERYBODY,  Some(AdminRead),         &[],            Call::Nodes),
    row(Get,  "/v1/nodes/{name}",             Known,  EVERYBODY,  Some(AdminRead),         &[],            Call::Node),
    row(Post, "/v1/nodes/{name}/ban",         Known,  OPERATORS,  Some(NodeBan),           &[],            Call::Ban),
    row(Post, "/v1/nodes/{name}/token",       Known,  PLATFORM,   Some(NodeToken),         &[],            Call::Token),
    row(Get,  "/v1/secrets",                  Known,  PEOPLE,     Some(AdminRead),         &[],            Call::Secrets),
    row(Get,  "/v1/secrets/{*name}",          Known,  PEOPLE,     Some(AdminRead),         &[],            Call::Secret),
    row(Put,  "/v1/secrets/{*name}",          Known,  KEEPERS,    Some(SecretPut),         &[],            Call::PutSecret),
    row(Get,  "/v1/datasets/{name}/key",      Known,  PEOPLE,     Some(KeyDocument),       &[],            Call::DataSetKey),
    row(Get,  "/v1/images/{name}/key",        Known,  PEOPLE,     Some(KeyDocument),       &[],            Call::ImageKey),
    row(Get,  "/v1/leases",                   Known,  EVERYBODY,  Some(AdminRead),         &[Once("all")], Call::Leases),
    row(Post, "/v1/leases/{id}/revoke",       Known,  REVOKERS,   Some(LeaseEnd),          &[],            Call::Revoke),
    row(Post, "/v1/policy/who-can",           Known,  PEOPLE,     Some(AdminRead),         &[],            Call::WhoCan),
    row(Post, "/v1/policy/explain",           Known,  PEOPLE,     Some(AdminRead),         &[],            Call::Explain),
    row(Get,  "/v1/audit/search",             Known,  AUDITORS,   Some(AuditRead),         SEARCH,         Call::Search),
    row(Get,  "/v1/audit/who/{dataset}",      Known,  READERS,    Some(AuditRead),         &[],            Call::Who),
    row(Get,  "/v1/audit/receipt/{index}",    Known,  AUDITORS,   Some(AuditRead),         &[],            Call::Receipt),
    row(Post, "/v1/audit/verify",             Known,  AUDITORS,   Some(AuditRead),         &[],            Call::Verify),
    row(Post, "/v1/people/{id}/certificate",  Known,  SECURITY,   Some(PersonCertificate), &[],            Call::Certificate),
    row(Get,  "/v1/bundle",                   Public, NOBODY,     None,                    &[],            Call::Bundle),
    row(Get,  "/v1/checkpoint",               Public, NOBODY,     None,                    &[],            Call::Checkpoint),
    row(Get,  "/v1/tile/{*place}",            Public, NOBODY,     None,                    &[],            Call::Tile),
    row(Get,  "/v1/tile/entries/{*place}",    Known,  AUDITORS,   Some(AuditRead),         &[],            Call::Entries),
];

const fn row(
    method: Method,
    path: &'static str,
    authentication: Authentication,
    roles: &'static [Role],
    ledger: Option<ActKind>,
    query: &'static [Query],
    call: Call,
) -> Endpoint {
    Endpoint {
        method,
        path,
        authentication,
        roles,
        ledger,
        query,
        call,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_place_and_each_call_stands_once() {
        let places: HashSet<_> = ENDPOINTS
            .iter()
            .map(|row| (row.method.as_str(), row.path))
            .collect();
        let calls: HashSet<_> = ENDPOINTS.iter().map(|row| row.call).collect();
        assert_eq!(
            (places.len(), calls.len()),
            (ENDPOINTS.len(), ENDPOINTS.len())
        );
    }

    #[test]
    fn whoever_must_be_known_leaves_a_leaf_and_nobody_else_does() {
        for row in &ENDPOINTS {
            let known = row.authentication == Authentication::Known;
            assert_eq!(row.ledger.is_some(), known, "{}", row.path);
            assert_eq!(!row.roles.is_empty(), known, "{}", row.path);
        }
    }
}
