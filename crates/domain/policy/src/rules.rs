//! Loads rules strictly: ids, scope, names and types are checked before the first decision.

use std::collections::BTreeSet;
use std::str::FromStr;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PolicyId, PolicySet, ResourceConstraint,
    ValidationMode, Validator,
};
use estate::{DataSetName, Estate, PolicyScope, PolicyText, RuleId};
use evidence::Action;

use crate::PolicyError;
use crate::names::{Known, refuse_unknown};
use crate::probe::Probe;
use crate::vocabulary::{ACTIONS, Vocabulary, shipped, uid};

/// The guardrails that come with the program, in Cedar's notation.
pub const GUARDRAILS: &str = include_str!("guardrails.cedar");

/// One rule, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) id: RuleId,
    /// The data set that it is for; `None` is everything.
    pub(crate) dataset: Option<DataSetName>,
    pub(crate) effect: Effect,
    pub(crate) actions: Vec<Action>,
    /// The one resource that it is about, if it names one.
    pub(crate) exact: Option<EntityUid>,
    pub(crate) policy: Policy,
    /// Its conditions one by one, to tell which of them fails.
    pub(crate) probes: Vec<Probe>,
    /// Whether a particular node is named in it.
    pub(crate) names_nodes: bool,
}

impl Rule {
    /// Whether the guardrails of the program or of the estate hold it.
    pub(crate) fn is_guardrail(&self) -> bool {
        self.dataset.is_none() && self.effect == Effect::Forbid
    }
}

/// The guardrails and all rules of the estate.
pub(crate) fn load(estate: &Estate, words: &Vocabulary) -> Result<Vec<Rule>, PolicyError> {
    let known = Known::of(estate);
    let mut rules = Vec::new();
    let mut ids = BTreeSet::new();
    let own = PolicyText {
        path: SHIPPED.into(),
        scope: PolicyScope::Guardrails,
        text: GUARDRAILS.into(),
    };
    for file in [&own].into_iter().chain(estate.policies()) {
        let mut valid = PolicySet::new();
        for policy in parse(file)? {
            let rule = rule(file, policy, estate, words)?;
            refuse_unknown(file, &rule, &known)?;
            if !ids.insert(rule.id.clone()) {
                return Err(PolicyError::DoubledId {
                    path: file.path.clone(),
                    id: rule.id,
                });
            }
            valid.add(rule.policy.clone()).map_err(shipped)?;
            rules.push(rule);
        }
        validate(file, &valid, words)?;
    }
    Ok(rules)
}

fn parse(file: &PolicyText) -> Result<Vec<Policy>, PolicyError> {
    let path = || file.path.clone();
    let set = PolicySet::from_str(&file.text).map_err(|error| PolicyError::Syntax {
        path: path(),
        line: line_of(&error, &file.text),
        message: detail(&error),
    })?;
    if let Some(template) = set.templates().next() {
        return Err(PolicyError::Template {
            path: path(),
            rule: template.id().to_string(),
        });
    }
    let mut policies: Vec<Policy> = set.policies().cloned().collect();
    // The parser numbers rules by their place, `policy0`, `policy1`, …; keep that order for stable errors.
    policies.sort_by_key(|policy| {
        let id = policy.id().to_string();
        (id.len(), id)
    });
    Ok(policies)
}

fn rule(
    file: &PolicyText,
    policy: Policy,
    estate: &Estate,
    words: &Vocabulary,
) -> Result<Rule, PolicyError> {
    let id = rule_id(file, &policy)?;
    let policy = policy.new_id(PolicyId::new(id.as_str()));
    let dataset = match &file.scope {
        PolicyScope::DataSet(dataset) => Some(dataset.clone()),
        PolicyScope::Guardrails => None,
    };
    let exact = match policy.resource_constraint() {
        ResourceConstraint::Eq(exact) => Some(exact),
        _ => None,
    };
    if let Some(dataset) = &dataset {
        if !in_scope(&policy.resource_constraint(), dataset, estate, words) {
            let (path, dataset) = (file.path.clone(), dataset.to_string());
            return Err(PolicyError::Unscoped { path, id, dataset });
        }
    } else if policy.effect() == Effect::Permit && file.path != SHIPPED {
        return Err(PolicyError::PermittingGuardrail {
            path: file.path.clone(),
            id,
        });
    }
    Ok(Rule {
        dataset,
        effect: policy.effect(),
        actions: actions(&policy, words),
        exact,
        probes: Probe::all_of(&policy).map_err(shipped)?,
        names_nodes: policy
            .entity_literals()
            .iter()
            .any(|entity| entity.type_name() == &words.node),
        policy,
        id,
    })
}

fn rule_id(file: &PolicyText, policy: &Policy) -> Result<RuleId, PolicyError> {
    let path = || file.path.clone();
    let Some(text) = policy.annotation("id") else {
        let rule = policy.to_string().chars().take(80).collect();
        return Err(PolicyError::NoId { path: path(), rule });
    };
    let bad = |reason| {
        Err(PolicyError::BadId {
            path: path(),
            id: text.chars().take(80).collect(),
            reason,
        })
    };
    let Ok(id) = text.parse::<RuleId>() else {
        return bad(
            "letters, digits, `.`, `_` and `-` are wanted, beginning with a letter or digit",
        );
    };
    match &file.scope {
        _ if id.as_str() == DEFAULT => bad("the word stands for no rule at all"),
        PolicyScope::DataSet(_) if id.as_str().starts_with("guardrail-") => {
            bad("the beginning is kept for guardrails")
        }
        _ => Ok(id),
    }
}

/// Whether a rule is about nothing but what belongs to its data set.
fn in_scope(
    resource: &ResourceConstraint,
    dataset: &DataSetName,
    estate: &Estate,
    words: &Vocabulary,
) -> bool {
    let own = uid(&words.dataset, dataset);
    match resource {
        ResourceConstraint::In(group) | ResourceConstraint::IsIn(_, group) => *group == own,
        ResourceConstraint::Eq(one) => {
            let name = one.id().unescaped();
            let kind = one.type_name();
            if *kind == words.image_key {
                estate
                    .image_sets()
                    .any(|set| set.name.as_str() == name && set.dataset == *dataset)
            } else if *kind == words.credential {
                estate
                    .credentials()
                    .any(|one| one.name.as_str() == name && one.dataset == *dataset)
            } else {
                // A secret's data set is chosen when it is put; the rules of no other data set ever meet it.
                *kind == words.secret
            }
        }
        ResourceConstraint::Any | ResourceConstraint::Is(_) => false,
    }
}

fn actions(policy: &Policy, words: &Vocabulary) -> Vec<Action> {
    let admits = |action: &Action| {
        let own = words.action(*action);
        match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(one) => one == own,
            ActionConstraint::In(list) => list.contains(&own),
        }
    };
    ACTIONS.into_iter().filter(admits).collect()
}

/// Strict validation, in which a warning is an error: the validator only *warns* of a rule that can never apply.
fn validate(file: &PolicyText, rules: &PolicySet, words: &Vocabulary) -> Result<(), PolicyError> {
    let result = Validator::new(words.schema.clone()).validate(rules, ValidationMode::Strict);
    let errors = result
        .validation_errors()
        .map(|error| (error.policy_id().to_string(), detail(error)));
    let warnings = result
        .validation_warnings()
        .map(|warning| (warning.policy_id().to_string(), detail(warning)));
    match errors.chain(warnings).next() {
        Some((id, message)) => Err(PolicyError::Invalid {
            path: file.path.clone(),
            id,
            message,
        }),
        None => Ok(()),
    }
}

/// The line, from 1, of the first thing that the parser points at; the last one when it points nowhere.
fn line_of(error: &dyn miette::Diagnostic, text: &str) -> usize {
    let label = error.labels().and_then(|mut labels| labels.next());
    let offset = label.map_or(text.len(), |label| label.offset());
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

fn detail(error: &dyn std::error::Error) -> String {
    error.to_string().chars().take(400).collect()
}

/// Stands for "no rule permits" where a rule's id could stand.
pub(crate) const DEFAULT: &str = "default";

const SHIPPED: &str = "guardrails of the program";
