//! Why rules were not loaded.

use estate::RuleId;

/// Rules were refused. Nothing is decided with half of the rules: the whole estate is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Fault: whoever wrote the file.
    #[error("{path}:{line}: not a set of rules: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// Fault: the writer. Without an id, the names on the ledger would shift with each edit.
    #[error("{path}: a rule lacks `@id`: {rule}")]
    NoId {
        /// The file.
        path: String,
        /// The beginning of the rule.
        rule: String,
    },
    /// Fault: the writer.
    #[error("{path}: `{}` can't be the id of a rule: {reason}", id.escape_debug())]
    BadId {
        /// The file.
        path: String,
        /// The refused id.
        id: String,
        /// Why.
        reason: &'static str,
    },
    /// Fault: the writer. Ids are unique over all files and guardrails.
    #[error("{path}: the id `{id}` is given twice")]
    DoubledId {
        /// The file of the second rule.
        path: String,
        /// The id.
        id: RuleId,
    },
    /// Fault: the writer.
    #[error("{path}: `{rule}` is a template, which nobody fills")]
    Template {
        /// The file.
        path: String,
        /// The template's place in the file.
        rule: String,
    },
    /// Fault: the writer. A rule outside its data set could open another owner's data.
    #[error(
        "{path}: `{id}` must be about the data set: resource in DataSet::\"{dataset}\", or one image key, secret or credential of it"
    )]
    Unscoped {
        /// The file.
        path: String,
        /// The rule.
        id: RuleId,
        /// The data set that the file is for.
        dataset: String,
    },
    /// Fault: the writer. What holds for all data sets can only tighten.
    #[error("{path}: `{id}` permits, but a guardrail can only forbid")]
    PermittingGuardrail {
        /// The file.
        path: String,
        /// The rule.
        id: RuleId,
    },
    /// Fault: the writer. People have no verb that returns a secret.
    #[error("{path}: `{id}` speaks of {entity}: rules are for workloads and nodes, not for people")]
    People {
        /// The file.
        path: String,
        /// The rule.
        id: RuleId,
        /// The person or team.
        entity: String,
    },
    /// Fault: the writer. A rule about something that does not exist never does what its author meant.
    #[error(
        "{path}: `{id}` speaks of {entity}, which the estate does not have{}",
        did_you_mean(nearest)
    )]
    UnknownEntity {
        /// The file.
        path: String,
        /// The rule.
        id: RuleId,
        /// The entity.
        entity: String,
        /// The most similar one that exists.
        nearest: Option<String>,
    },
    /// Fault: the writer. Ill-typed, or so written that it can never apply.
    #[error("{path}: `{id}` is not valid: {message}")]
    Invalid {
        /// The file.
        path: String,
        /// The rule.
        id: String,
        /// The validator's words.
        message: String,
    },
    /// Fault: ours. The schema or the guardrails that come with the binary do not load.
    #[error("the rules that come with the program do not load: {message}")]
    Shipped {
        /// What the engine says.
        message: String,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"))
}
