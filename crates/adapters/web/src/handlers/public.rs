//! What anybody may read: it is signed, or a hash.

use server::{
    Server,
    ports::{DatabaseAccounts, Store},
};
use tlog::Tile;

use crate::{
    answer::{Failure, Reply},
    ask::Ask,
};

pub(super) fn bundle<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    ask.no_body()?;
    let json = server
        .bundle()?
        .to_json()
        .map_err(|error| Failure::broken(&error))?;
    Ok(Reply::Bytes {
        media_type: "application/json",
        bytes: json.into_bytes(),
    })
}

pub(super) async fn checkpoint<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    ask.no_body()?;
    let note = server
        .store()
        .checkpoint()
        .await?
        .ok_or_else(|| Failure::not_found("checkpoint", "newest"))?;
    Ok(Reply::Bytes {
        media_type: "text/plain; charset=utf-8",
        bytes: note.into_bytes(),
    })
}

pub(super) async fn tile<S: Store, A: DatabaseAccounts>(
    server: &Server<S, A>,
    ask: &Ask,
) -> Result<Reply, Failure> {
    ask.no_body()?;
    let place: String = ask.parameter("place")?;
    let tile: Tile = format!("tile/{place}")
        .parse()
        .map_err(|error: tlog::TileError| Failure::malformed(error.to_string()))?;
    let found = server
        .store()
        .tile(Some(tile.level()), tile.index(), tile.width())
        .await?;
    let bytes = found.ok_or_else(|| Failure::not_found("tile", tile))?;
    Ok(Reply::Bytes {
        media_type: "application/octet-stream",
        bytes,
    })
}
