//! Step 5: a ban ends the lease, and with it the open database session.

use std::time::Duration;

use fixture::until_async;

use super::service::Service;
use crate::stage::Stage;
use crate::tell::Since;

/// How long the session outlived the ban.
///
/// # Errors
/// When it does not end.
pub async fn run(stage: &Stage, service: &Service) -> anyhow::Result<Duration> {
    stage.tell.chapter("5  `node ban` on DAL05");
    let since = Since::now();
    let ban = stage
        .bailiwick
        .ask(&["node", "ban", stage.dal05.name, "--reason", "the demo"])?
        .ended(0)?;
    until_async("the end of the session", PATIENCE, async || {
        stage
            .postgres
            .sessions(&service.role)
            .ok()?
            .is_empty()
            .then_some(())
    })
    .await?;
    let took = since.took();
    until_async("the end of the role", PATIENCE, async || {
        stage
            .postgres
            .roles(&service.role)
            .ok()?
            .is_empty()
            .then_some(())
    })
    .await?;
    let gone = since.took();
    let words = format!(
        "session of {} dead {:.2} s after the command began, role gone after {:.2} s",
        service.role,
        took.as_secs_f64(),
        gone.as_secs_f64()
    );
    stage.tell.step(ban.took, &ban.command, &words);
    Ok(took)
}

const PATIENCE: Duration = Duration::from_secs(30);
