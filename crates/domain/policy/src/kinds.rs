//! The closed set of releases. A permit is for one of them, so a logged `issue` can't open a secret.

use std::fmt;

use estate::{CredentialName, DataSetName, ImageSetName, SecretName};
use evidence::{
    Action,
    request::{Canonical, IssueRequest, LeaseRequest, OpenRequest, ReadRequest, StartRequest},
};

use crate::Target;

mod sealed {
    pub trait Sealed {}
}

/// What a release gives away; a closed set.
pub trait Kind: sealed::Sealed + fmt::Debug + Send + Sync + 'static {
    /// The action that policies name.
    const ACTION: Action;
    /// The canonical request.
    type Request: Canonical + fmt::Debug + Send + Sync;
    /// Whose credential may ask: the node's own, or that of a workload on it.
    const PRINCIPAL: PrincipalKind;
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalKind {
    /// The node, for itself.
    Node,
    /// A workload, measured by the node.
    Workload,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident($request:ty, $principal:ident);)*) => { $(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl Kind for $name {
            const ACTION: Action = Action::$name;
            type Request = $request;
            const PRINCIPAL: PrincipalKind = PrincipalKind::$principal;
        }
    )* };
}
kinds! {
    /// Opens an image key, for a node.
    Open(OpenRequest, Node);
    /// Starts from a fenced image.
    Start(StartRequest, Workload);
    /// Reads a secret.
    Read(ReadRequest, Workload);
    /// Leases a credential.
    Lease(LeaseRequest, Workload);
    /// Issues an identity.
    Issue(IssueRequest, Workload);
}

/// What is asked, with the canonical bytes that the statement names and the target that policy judges.
#[derive(Debug)]
pub struct Request<K: Kind> {
    body: K::Request,
    target: Target,
}

impl<K: Kind> Request<K> {
    /// The parsed request.
    pub fn body(&self) -> &K::Request {
        &self.body
    }
    /// What policy judges.
    pub fn target(&self) -> &Target {
        &self.target
    }
}

impl Request<Open> {
    /// An image key of a set.
    pub fn open(body: OpenRequest) -> Self {
        let target = Target::ImageKey(body.image.clone());
        Self { body, target }
    }
    /// The image set.
    pub fn image(&self) -> &ImageSetName {
        &self.body.image
    }
}

impl Request<Start> {
    /// A start from an image set.
    pub fn start(body: StartRequest) -> Self {
        let target = Target::ImageKey(body.image.clone());
        Self { body, target }
    }
}

impl Request<Read> {
    /// A secret of a data set.
    pub fn read(body: ReadRequest, dataset: DataSetName) -> Self {
        let target = Target::Secret(body.secret.clone(), dataset);
        Self { body, target }
    }
    /// The secret.
    pub fn secret(&self) -> &SecretName {
        &self.body.secret
    }
}

impl Request<Lease> {
    /// A credential of a data set.
    pub fn lease(body: LeaseRequest, dataset: DataSetName) -> Self {
        let target = Target::Credential(body.credential.clone(), dataset);
        Self { body, target }
    }
    /// The credential.
    pub fn credential(&self) -> &CredentialName {
        &self.body.credential
    }
}

impl Request<Issue> {
    /// An identity.
    pub fn issue(body: IssueRequest) -> Self {
        Self {
            body,
            target: Target::Identity,
        }
    }
}
