//! What was delivered into a container is written down before it leaves the agent, so that whoever gets a hand inside later is
//! told of with all of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use evidence::{ContainerRef, WorkloadFacts};
use tokio::sync::OwnedMutexGuard;

use crate::{
    agent::{Agent, Delivered},
    error::AgentError,
    ports::{Connector, DecidedOn, Gate, Hold, Holding, Probe},
};

/// One turn at a time for each container: a delivery is written down while no hand is judged, and a hand is judged while
/// nothing is delivered. Else a secret could arrive between the list of what is held and the mark.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<(String, String), Turn>>);

type Turn = Arc<tokio::sync::Mutex<()>>;

impl Turns {
    /// Waits for the container's turn, which lasts as long as the guard.
    pub(crate) async fn of(&self, container: &ContainerRef) -> OwnedMutexGuard<()> {
        let key = (container.runtime_namespace.clone(), container.id.clone());
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(key).or_default())
        };
        turn.lock_owned().await
    }
}

impl<C: Connector, P: Probe> Agent<C, P> {
    /// Lets go of an answer only when it is written down where it goes; `into` is what was measured before it was asked for.
    pub(crate) async fn hold(
        &self,
        into: Option<WorkloadFacts>,
        what: impl FnOnce(&Delivered) -> Result<Holding, AgentError>,
        delivered: Delivered,
    ) -> Result<Delivered, AgentError> {
        let Some(gate) = self.probe.gate() else {
            return Ok(delivered);
        };
        // A process of the host is in no container that a hand could get into.
        let Some((container, interactive)) =
            into.and_then(|facts| Some((facts.container?, facts.interactive)))
        else {
            return Ok(delivered);
        };
        let what = what(&delivered)?;
        let _turn = self.turns.of(&container).await;
        let decided = match interactive {
            Some(known) if !known.yes => DecidedOn::Untouched,
            _ => DecidedOn::Touched,
        };
        match gate.hold(&container, what, decided).await? {
            Hold::Written => Ok(delivered),
            Hold::TouchedMeanwhile => Err(AgentError::Caller(
                "somebody got a hand inside the container meanwhile".into(),
            )),
        }
    }
}
