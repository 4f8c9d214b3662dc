//! What each row of the table does: a thin layer over the server, one function per call.

mod audit;
mod estate;
mod leases;
mod nodes;
mod people;
mod policy;
mod public;
mod secrets;
mod status;

use ledger::{Act, ActKind, Commitment};
use server::{
    Server,
    ports::{DatabaseAccounts, Store},
};

use crate::{
    answer::{Failure, Reply},
    ask::Ask,
    endpoints::Call,
};

/// Runs the call of a row for a caller that was let in.
pub(crate) async fn handle<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    call: Call,
    ask: &Ask,
) -> Result<Reply, Failure> {
    match call {
        Call::Status => status::status(server, ask).await,
        Call::Diff => estate::diff(server, ask).await,
        Call::Apply => estate::apply(server, ask).await,
        Call::Changes => estate::changes(server, ask).await,
        Call::Change => estate::change(server, ask).await,
        Call::Approve => estate::approve(server, ask).await,
        Call::Reject => estate::reject(server, ask).await,
        Call::Promote => estate::promote(server, ask).await,
        Call::Retire => estate::retire(server, ask).await,
        Call::Nodes => nodes::list(server, ask).await,
        Call::Node => nodes::show(server, ask).await,
        Call::Ban => nodes::ban(server, ask).await,
        Call::Token => nodes::token(server, ask).await,
        Call::Secrets => secrets::list(server, ask).await,
        Call::Secret => secrets::show(server, ask).await,
        Call::PutSecret => secrets::put(server, ask).await,
        Call::DataSetKey => secrets::dataset_key(server, ask).await,
        Call::ImageKey => secrets::image_key(server, ask).await,
        Call::Leases => leases::list(server, ask).await,
        Call::Revoke => leases::revoke(server, ask).await,
        Call::WhoCan => policy::who_can(server, ask).await,
        Call::Explain => policy::explain(server, ask).await,
        Call::Search => audit::search(server, ask).await,
        Call::Who => audit::who(server, ask).await,
        Call::Receipt => audit::receipt(server, ask).await,
        Call::Verify => audit::verify(server, ask).await,
        Call::Certificate => people::certificate(server, ask).await,
        Call::Bundle => public::bundle(server, ask),
        Call::Checkpoint => public::checkpoint(server, ask).await,
        Call::Tile => public::tile(server, ask).await,
        Call::Entries => audit::entries(server, ask).await,
    }
}

/// Records that somebody reads something: before it is read, so that no answer is without its leaf.
async fn reading<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
    kind: ActKind,
    what: &str,
) -> Result<Commitment, Failure> {
    let act = Act::new(kind, ask.actor()?).field("what", what);
    Ok(server.ledger().record(act).await?.commitment().clone())
}

/// Reads without a body: the request line says it all.
async fn plain_reading<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Commitment, Failure> {
    ask.no_body()?;
    reading(server, ask, ActKind::AdminRead, &ask.line).await
}
