//! Denials that are recorded one by one, per node: beyond a budget they are counted, and a minute's count is one leaf.
//! A workload in a loop fills neither the disk nor the queue that everybody waits in.

use std::collections::BTreeMap;

use estate::{NodeName, Timestamp};

/// Counts denials by node and minute.
#[derive(Debug, Default)]
pub(crate) struct DenialBudget {
    nodes: BTreeMap<NodeName, Minute>,
}

#[derive(Debug)]
struct Minute {
    began: Timestamp,
    recorded: u32,
    refused: u32,
}

impl DenialBudget {
    /// Whether another request of this node may be decided; otherwise it is refused as busy, and counted.
    pub(crate) fn admits(&mut self, node: &NodeName, now: Timestamp) -> bool {
        let Some(minute) = self.nodes.get_mut(node) else {
            return true;
        };
        if minute.is_over(now) || minute.recorded < RECORDED_PER_MINUTE {
            return true;
        }
        minute.refused += 1;
        false
    }

    /// A denial of this node was recorded.
    pub(crate) fn spend(&mut self, node: &NodeName, now: Timestamp) {
        let fresh = Minute {
            began: now,
            recorded: 0,
            refused: 0,
        };
        let minute = self.nodes.entry(node.clone()).or_insert(fresh);
        if minute.is_over(now) && minute.refused == 0 {
            *minute = Minute {
                began: now,
                recorded: 0,
                refused: 0,
            };
        }
        minute.recorded += 1;
    }

    /// Nodes whose minute is over, with what was not recorded one by one; they begin anew.
    pub(crate) fn overdue(&mut self, now: Timestamp) -> Vec<(NodeName, u32)> {
        let over: Vec<NodeName> = self
            .nodes
            .iter()
            .filter(|(_, minute)| minute.is_over(now))
            .map(|(node, _)| node.clone())
            .collect();
        over.into_iter()
            .filter_map(|node| {
                let minute = self.nodes.remove(&node)?;
                (minute.refused > 0).then_some((node, minute.refused))
            })
            .collect()
    }
}

/// Counts attestations that were refused, whoever tried: nobody has proven a name yet, so all strangers share one budget.
#[derive(Debug, Default)]
pub(crate) struct StrangerBudget(Option<Minute>);

impl StrangerBudget {
    /// Whether one more refusal is recorded by itself; otherwise it is counted.
    pub(crate) fn records(&mut self, now: Timestamp) -> bool {
        let minute = self.0.get_or_insert(Minute {
            began: now,
            recorded: 0,
            refused: 0,
        });
        if minute.is_over(now) && minute.refused == 0 {
            *minute = Minute {
                began: now,
                recorded: 0,
                refused: 0,
            };
        }
        if minute.recorded < STRANGERS_PER_MINUTE || minute.is_over(now) {
            minute.recorded += 1;
            return true;
        }
        minute.refused += 1;
        false
    }

    /// What was not recorded one by one, once its minute is over.
    pub(crate) fn overdue(&mut self, now: Timestamp) -> Option<u32> {
        let minute = self.0.take_if(|minute| minute.is_over(now))?;
        (minute.refused > 0).then_some(minute.refused)
    }
}

impl Minute {
    fn is_over(&self, now: Timestamp) -> bool {
        // A clock that was set back must not keep a node out for ever.
        now.since(self.began)
            .is_none_or(|passed| passed.as_secs() >= 60)
    }
}

const RECORDED_PER_MINUTE: u32 = 600;
const STRANGERS_PER_MINUTE: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds)
    }

    #[test]
    fn beyond_the_budget_denials_are_one_number() {
        let node: NodeName = "n1".parse().unwrap();
        let mut budget = DenialBudget::default();
        for _ in 0..RECORDED_PER_MINUTE {
            assert!(budget.admits(&node, at(0)));
            budget.spend(&node, at(0));
        }
        for _ in 0..5 {
            assert!(!budget.admits(&node, at(1)));
        }
        assert!(budget.overdue(at(59)).is_empty());
        assert_eq!(budget.overdue(at(60)), [(node.clone(), 5)]);
        assert!(budget.admits(&node, at(60)));
    }

    #[test]
    fn strangers_share_one_budget() {
        let mut budget = StrangerBudget::default();
        for _ in 0..STRANGERS_PER_MINUTE {
            assert!(budget.records(at(0)));
        }
        assert!(!budget.records(at(1)) && !budget.records(at(59)));
        assert_eq!(budget.overdue(at(59)), None);
        assert_eq!(budget.overdue(at(60)), Some(2));
        assert_eq!(budget.overdue(at(60)), None);
        assert!(budget.records(at(60)));
    }

    #[test]
    fn one_node_does_not_spend_for_another() {
        let (one, other): (NodeName, NodeName) = ("n1".parse().unwrap(), "n2".parse().unwrap());
        let mut budget = DenialBudget::default();
        for _ in 0..=RECORDED_PER_MINUTE {
            budget.spend(&one, at(0));
        }
        assert!(!budget.admits(&one, at(0)));
        assert!(budget.admits(&other, at(0)));
    }
}
