//! The server's doors for people: the root-only socket, and HTTP with client certificates.

use std::sync::Arc;

use accounts::EstateAccounts;
use server::Server;
use store::SqliteStore;
use tokio::task::JoinSet;
use web::{Api, Limits, LocalDoor, RemoteDoor};

use crate::{config::ServerConfig, system::SystemClock};

/// Listens for people; the returned set ends only when a door does.
pub(crate) async fn listen(
    config: &ServerConfig,
    server: &Arc<Server<SqliteStore, EstateAccounts>>,
) -> anyhow::Result<JoinSet<()>> {
    let api = Api::new(Arc::clone(server));
    let mut doors = JoinSet::new();
    if let Some(folder) = config.socket.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let local = LocalDoor::bind(&config.socket).await?;
    doors.spawn(local.serve(Arc::clone(&api), Limits::default()));
    if let Some(address) = config.http {
        let (chain, key) = super::certificate::of_server(config, server)?;
        let now = Arc::new(|| SystemClock.timestamp());
        let remote = RemoteDoor::bind(address, server.root_der(), chain, key, now).await?;
        doors.spawn(remote.serve(api, Limits::default()));
    }
    Ok(doors)
}
