//! Small estates, changes and signatures at random, against a count by hand.

use std::collections::{BTreeMap, BTreeSet};

use estate::{Estate, Founders, NotApproved, approve, diff};
use proptest::prelude::*;

use super::{VERSION, at, person_of, public, signed, submit};

const NAMES: [&str; 6] = ["ann", "bea", "cid", "dan", "eve", "fox"];
/// Who signs nothing that counts: a robot, somebody unknown.
const OTHERS: [&str; 2] = ["ro", "mal"];
const FOUNDERS: [&str; 2] = ["ida", "jon"];

#[derive(Debug, Clone)]
struct Plan {
    platform: BTreeSet<usize>,
    security: BTreeSet<usize>,
    owners: BTreeSet<usize>,
    /// How many of platform, security and owners each rule wants: inventory, people, data set.
    rules: [(usize, usize); 3],
    quorum: usize,
    /// What is done: a place added, a data set opened further, a team added, leases made shorter.
    place: bool,
    opened: bool,
    team: bool,
    shorter: bool,
    submitter: Option<usize>,
    signers: Vec<(usize, bool)>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let team = || prop::collection::btree_set(0_usize..6, 1..4);
    let rule = || (0_usize..3, 0_usize..3);
    (
        (team(), team(), team()),
        [rule(), rule(), rule()],
        1_usize..3,
        any::<[bool; 4]>(),
        prop::bool::weighted(0.3),
        prop::option::of(0_usize..9),
        prop::collection::vec(
            (
                prop_oneof![12 => 0_usize..6, 1 => 6_usize..8, 6 => 8_usize..10],
                any::<bool>(),
            ),
            0..8,
        ),
    )
        .prop_map(
            |(
                (mut platform, security, mut owners),
                mut rules,
                quorum,
                [place, opened, team, shorter],
                alone,
                submitter,
                signers,
            )| {
                let signers = match submitter {
                    // Whoever submits is in every team, signs with both keys, and nobody else has to.
                    Some(one) if alone && one < 6 => {
                        platform.insert(one);
                        owners.insert(one);
                        rules = [(1, 0); 3];
                        vec![(one, false), (one, true)]
                    }
                    _ => signers,
                };
                Plan {
                    platform,
                    security,
                    owners,
                    rules,
                    quorum,
                    place,
                    opened,
                    team,
                    shorter,
                    submitter,
                    signers,
                }
            },
        )
}

fn name(index: usize) -> &'static str {
    NAMES
        .iter()
        .chain(&OTHERS)
        .chain(&FOUNDERS)
        .nth(index)
        .copied()
        .unwrap()
}

impl Plan {
    /// What each rule wants, as far as its teams are large enough.
    fn wants(&self, rule: usize) -> Vec<(&'static str, &BTreeSet<usize>, usize)> {
        let (first, second) = self.rules.get(rule).copied().unwrap();
        let (team, members) = if rule == 2 {
            ("owner", &self.owners)
        } else {
            ("platform", &self.platform)
        };
        [(team, members, first), ("security", &self.security, second)]
            .into_iter()
            .map(|(team, members, wanted)| (team, members, wanted.min(members.len())))
            .filter(|(_, _, wanted)| *wanted > 0)
            .collect()
    }

    fn estate(&self, after: bool) -> Estate {
        let list = |team: &BTreeSet<usize>| {
            let names: Vec<String> = team
                .iter()
                .map(|one| format!("\"{}\"", person_of(name(*one))))
                .collect();
            names.join(", ")
        };
        let mut people = format!(
            "version = 1\n[team]\nplatform = [{}]\nsecurity = [{}]\nown = [{}]\n",
            list(&self.platform),
            list(&self.security),
            list(&self.owners)
        );
        if after && self.team {
            people += "more = []\n";
        }
        people += "[approve]\n";
        for (rule, word) in ["inventory", "people", "dataset"].into_iter().enumerate() {
            let wants: Vec<String> = self
                .wants(rule)
                .iter()
                .map(|(team, _, wanted)| format!("{team} = {wanted}"))
                .collect();
            people += &format!("{word} = {{ {} }}\n", wants.join(", "));
        }
        for one in NAMES {
            let second = format!("{one}/second");
            people += &format!(
                "[person.\"{}\"]\nkeys = [\"{}\", \"{}\"]\n",
                person_of(one),
                public(one),
                public(&second)
            );
        }
        people += &format!(
            "[person.\"{}\"]\nrobot = true\nkeys = [\"{}\"]\n",
            person_of("ro"),
            public("ro")
        );
        let assurance = if after && self.opened { 1 } else { 2 };
        let lease = if after && self.shorter { "1h" } else { "2h" };
        let datasets = format!(
            "version = 1\n[dataset.d]\nowner = \"own\"\ntenant = \"t\"\nmin_assurance = {assurance}\nmax_lease = \"{lease}\"\n"
        );
        let place = if after && self.place {
            "B = { kind = \"country\" }\n"
        } else {
            ""
        };
        let inventory = format!("version = 1\n[location]\nA = {{ kind = \"country\" }}\n{place}");
        Estate::parse(&[
            ("people.toml", people),
            ("datasets.toml", datasets),
            ("inventory.toml", inventory),
        ])
        .unwrap()
    }

    fn founders(&self) -> Founders {
        let people = FOUNDERS.map(|one| {
            (
                person_of(one).parse().unwrap(),
                BTreeSet::from([public(one)]),
            )
        });
        Founders::new(BTreeMap::from(people), self.quorum).unwrap()
    }

    /// By hand: distinct people per team, founders where a rule is missing, somebody beside the submitter, and for
    /// what narrows one who stands for it.
    fn is_approved(&self) -> bool {
        let who: BTreeSet<usize> = self.signers.iter().map(|(one, _)| *one).collect();
        if who.contains(&6) || who.contains(&7) {
            return false;
        }
        let founders = who.iter().filter(|one| **one >= 8).count();
        let met = |rule: usize| {
            let wants = self.wants(rule);
            if wants.is_empty() {
                return founders >= self.quorum;
            }
            wants
                .iter()
                .all(|(_, members, wanted)| who.intersection(members).count() >= *wanted)
        };
        let widens: Vec<usize> = [(self.place, 0), (self.team, 1), (self.opened, 2)]
            .into_iter()
            .filter_map(|(done, rule)| done.then_some(rule))
            .collect();
        let not_alone = self
            .submitter
            .is_none_or(|submitter| who.iter().any(|one| *one != submitter));
        let widening = widens.is_empty() || (widens.iter().all(|rule| met(*rule)) && not_alone);
        let narrows = self.shorter && !self.opened;
        let mut standing: BTreeSet<usize> = self.platform.union(&self.security).copied().collect();
        match self.wants(2).as_slice() {
            [] => standing.extend([8, 9]),
            wants => standing.extend(
                wants
                    .iter()
                    .flat_map(|(_, members, _)| members.iter().copied()),
            ),
        }
        let answered = !narrows
            || who
                .iter()
                .chain(&self.submitter)
                .any(|one| standing.contains(one));
        widening && answered
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn approve_says_yes_exactly_when_a_count_by_hand_does(plan in plan()) {
        let (old, new) = (plan.estate(false), plan.estate(true));
        let record = submit(&old, &new, plan.submitter.map(name));
        let by: Vec<String> = plan.signers.iter().map(|(one, second)| {
            let second = *second && *one < 6;
            format!("{}{}", name(*one), if second { "/second" } else { "" })
        }).collect();
        let by: Vec<&str> = by.iter().map(String::as_str).collect();
        let record = signed(record, &by);
        let answer = approve(&record, &diff(&old, &new), &old, VERSION, &new, &plan.founders(), at(10));
        prop_assert_eq!(answer.is_ok(), plan.is_approved(), "{:?}", answer);
        if let Err(NotApproved::Missing(missing)) = answer {
            prop_assert!(missing.iter().all(|one| one.signed.len() < one.requirement.wanted));
        }
    }
}
