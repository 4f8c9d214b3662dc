//! What the start gate asks: may this container be made, may this hand go into it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use estate::{Digest, ImageSetName};
use evidence::{
    Action, Confirmation, ContainerRef, WorkloadFacts,
    request::{ExecRequest, Hand, StartRequest},
};
use serde::{Deserialize, Serialize};

use crate::{
    agent::{Agent, Delivered},
    ask::{Door, Measured, plain},
    error::AgentError,
    ports::{Connector, Gate, GatedLayer, Inside, Probe, Starting},
};

/// What a runtime is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateOperation {
    /// Make a container.
    Create,
    /// Make a container from the memory of another life.
    Restore,
    /// Write a container's memory to a file.
    Checkpoint,
    /// Start another process in a container.
    Exec,
    /// Make a container in the process space of another, which is the one that is asked about.
    Join,
}

/// A question of the gate. Nothing in it is believed but what the agent finds itself; what it adds makes an answer stricter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateQuestion {
    /// What is about to happen.
    pub operation: GateOperation,
    /// The container; for [`GateOperation::Join`] the one whose process space is joined.
    pub container: ContainerRef,
    /// The OCI bundle of the container that the gate was called for.
    pub bundle: PathBuf,
    /// Chains of opened layers that the gate found below the container.
    pub gated: Vec<Digest>,
    /// The command of an exec; empty otherwise.
    pub argv: Vec<String>,
}

/// Nothing stands against it.
#[derive(Debug, Clone, Default)]
pub struct GateAnswer {
    /// The command is a probe that the owner allows: no hand.
    pub probe: bool,
    /// What the container held counts as exposed from now on.
    pub exposed: bool,
    /// What was put on record for it; each receipt was verified.
    pub records: Vec<Delivered>,
}

impl<C: Connector, P: Probe> Agent<C, P> {
    /// Answers the start gate.
    ///
    /// # Errors
    /// [`AgentError`]: whatever it is, the runtime is not called.
    pub async fn gate(
        &self,
        caller: &P::Caller,
        question: GateQuestion,
    ) -> Result<GateAnswer, AgentError> {
        let Some(gate) = self.probe.gate() else {
            return Err(AgentError::Caller(
                "no start gate is set up on this node".into(),
            ));
        };
        self.refuse_if_banned()?;
        self.refuse_if_offline()?;
        gate.program(caller).await?;
        match question.operation {
            GateOperation::Create | GateOperation::Restore => {
                self.start(gate, caller, &question).await
            }
            GateOperation::Exec => self.hand(gate, Hand::Exec, question).await,
            GateOperation::Join => self.hand(gate, Hand::Join, question).await,
            GateOperation::Checkpoint => self.hand(gate, Hand::Checkpoint, question).await,
        }
    }

    /// One `start` for each image set whose opened layers are in the container; all have to be permitted.
    async fn start(
        &self,
        gate: &P::Gate,
        caller: &P::Caller,
        question: &GateQuestion,
    ) -> Result<GateAnswer, AgentError> {
        let Starting { facts, gated } = gate.starting(caller, question).await?;
        let at = self.clock.now();
        let images: BTreeSet<&ImageSetName> = gated.iter().map(|layer| &layer.image).collect();
        let mut records = Vec::new();
        for image in images {
            let request = StartRequest {
                v: 1,
                image: image.clone(),
            };
            let measured = Measured {
                workload: Some(facts.clone()),
                at,
            };
            let delivered = self
                .release(
                    Action::Start,
                    &request,
                    self.own_key().await?,
                    measured,
                    Vec::new(),
                )
                .await?;
            plain(&delivered)?;
            records.push(delivered);
        }
        // The server was asked all the same: that a stranger's image tried is on record.
        refuse_strangers(&facts, &gated)?;
        Ok(GateAnswer {
            records,
            ..GateAnswer::default()
        })
    }

    async fn hand(
        &self,
        gate: &P::Gate,
        hand: Hand,
        question: GateQuestion,
    ) -> Result<GateAnswer, AgentError> {
        let GateQuestion {
            container,
            gated,
            argv,
            ..
        } = question;
        let argv = match hand {
            Hand::Exec if argv.is_empty() => {
                return Err(AgentError::Caller("an exec has no command".into()));
            }
            Hand::Exec => argv,
            _ => Vec::new(),
        };
        let _turn = self.turns.of(&container).await;
        let inside = gate.inside(&container, &gated).await?;
        if hand == Hand::Exec && inside.healthcheck.as_ref() == Some(&argv) {
            gate.allow_probe(&container, &argv).await?;
            return Ok(GateAnswer {
                probe: true,
                ..GateAnswer::default()
            });
        }
        let (delivered, word) = self.ask_hand(hand, argv.clone(), inside).await?;
        let answer = GateAnswer {
            probe: word == Word::Probe,
            exposed: word == Word::Exposed,
            records: vec![delivered],
        };
        if answer.probe {
            gate.allow_probe(&container, &argv).await?;
            return Ok(answer);
        }
        // The gate writes the same mark; but nothing may be given between this answer and that mark.
        let marked = gate.touch(&container, hand, &argv).await;
        self.hands.touch(&container);
        marked?;
        if answer.exposed {
            gate.forget_leases(&container).await?;
        }
        Ok(answer)
    }

    /// Asks the server about a hand, or tells of one that was seen.
    pub(crate) async fn ask_hand(
        &self,
        hand: Hand,
        argv: Vec<String>,
        inside: Inside,
    ) -> Result<(Delivered, Word), AgentError> {
        let may_be_probe = hand == Hand::Exec;
        let request = ExecRequest {
            v: 1,
            hand,
            argv,
            images: inside.images.into_iter().collect(),
            held: inside.held,
        };
        let measured = Measured {
            workload: Some(inside.facts),
            at: self.clock.now(),
        };
        let delivered = self
            .ask(Door::Exec, &request, self.own_key().await?, measured)
            .await?;
        let word = match plain(&delivered)? {
            [word] if word == b"probe" && may_be_probe => Word::Probe,
            [word] if word == b"free" => Word::Free,
            [word] if word == b"exposed" => Word::Exposed,
            _ => {
                return Err(AgentError::BadReceipt(
                    "it is no answer about a hand".into(),
                ));
            }
        };
        Ok((delivered, word))
    }

    /// Nothing is sealed in these answers; the node's own key stands where a statement must name one.
    async fn own_key(&self) -> Result<Confirmation, AgentError> {
        Ok(self.session().await?.0.identity.confirmation())
    }
}

/// What a server says of a hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// It is none: a probe.
    Probe,
    /// There is nothing to see.
    Free,
    /// What is held counts as seen.
    Exposed,
}

/// A layer starts only as the image that it is bound to, also one that is mounted into another container: whatever a server
/// says.
fn refuse_strangers(facts: &WorkloadFacts, gated: &BTreeSet<GatedLayer>) -> Result<(), AgentError> {
    let own = facts.image.as_ref().map(|image| image.config);
    let mut by_chain: BTreeMap<Digest, bool> = BTreeMap::new();
    for layer in gated {
        *by_chain.entry(layer.chain).or_default() |= Some(layer.config) == own;
    }
    match by_chain.values().all(|bound| *bound) {
        true => Ok(()),
        false => Err(AgentError::Caller(
            "a layer of the container belongs to another image".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use evidence::ImageFacts;

    use super::*;

    fn layer(chain: &str, config: &str) -> GatedLayer {
        GatedLayer {
            chain: Digest::of(chain),
            config: Digest::of(config),
            image: "medrec".parse().unwrap(),
        }
    }

    fn facts(config: Option<&str>) -> WorkloadFacts {
        WorkloadFacts {
            container: None,
            image: config.map(|config| ImageFacts {
                config: Digest::of(config),
                chain_id: Digest::of("chain"),
            }),
            exe: None,
            deviations: None,
            interactive: None,
            privileged: None,
            uid: None,
            pod: None,
        }
    }

    #[test]
    fn each_layer_starts_only_as_the_image_that_it_is_bound_to() {
        let accepts = |own: Option<&str>, gated: &[GatedLayer]| {
            refuse_strangers(&facts(own), &gated.iter().cloned().collect()).is_ok()
        };
        assert!(accepts(Some("m"), &[layer("1", "m"), layer("2", "m")]));
        assert!(!accepts(Some("m"), &[layer("1", "m"), layer("2", "other")]));
        assert!(!accepts(Some("stranger"), &[layer("1", "m")]));
        assert!(!accepts(None, &[layer("1", "m")]));
        // Two images that share a layer, each with its own key for it.
        assert!(accepts(Some("m"), &[layer("1", "m"), layer("1", "n")]));
        assert!(accepts(None, &[]));
    }
}
