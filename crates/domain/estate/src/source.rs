//! One file of the estate, and errors that point into it.

use std::ops::Range;

/// A file of the estate as it was given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'t> {
    pub(crate) path: &'t str,
    pub(crate) text: &'t str,
}

impl Source<'_> {
    /// An error at a byte offset of this file.
    pub(crate) fn error(&self, offset: usize, problem: Problem) -> EstateError {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        EstateError {
            path: shorten(self.path),
            line,
            problem: Box::new(problem),
        }
    }

    pub(crate) fn error_in(&self, span: Option<Range<usize>>, problem: Problem) -> EstateError {
        self.error(span.map_or(0, |span| span.start), problem)
    }
}

/// A file of the estate was refused. Fault: whoever wrote the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {problem}", path.escape_debug())]
pub struct EstateError {
    path: String,
    line: usize,
    problem: Box<Problem>,
}

impl EstateError {
    /// The file, as it was named by the caller.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// What is wrong there.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// What can be wrong with a file of the estate. Every one is the fault of whoever wrote the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Fault: the writer. The text is not TOML; a doubled key is refused here, too.
    #[error("not TOML: {message}")]
    Syntax {
        /// The parser's words.
        message: String,
    },
    /// Fault: the writer. A key that nobody reads would be believed to have an effect.
    #[error("unknown key `{}` in {table}{}", key.escape_debug(), nearest(nearest_key))]
    UnknownKey {
        /// The unknown key.
        key: String,
        /// Where it stands.
        table: String,
        /// The most similar key that is known there.
        nearest_key: Option<String>,
    },
    /// Fault: the writer.
    #[error(
        "a file of this name does not belong to an estate{}",
        nearest(nearest_path)
    )]
    UnknownFile {
        /// The most similar name that does.
        nearest_path: Option<String>,
    },
    /// Fault: the caller.
    #[error("the file is given twice")]
    DoubledFile,
    /// Fault: the writer.
    #[error("{what} is too large: at most {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Fault: the writer.
    #[error("{table} lacks `{key}`")]
    Missing {
        /// The table.
        table: String,
        /// The key.
        key: &'static str,
    },
    /// Fault: the writer.
    #[error("{key} is not {wanted}")]
    WrongType {
        /// The full name of the key.
        key: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Fault: the writer.
    #[error("{key}: {reason}")]
    Malformed {
        /// The full name of the key.
        key: String,
        /// What the value's own parser says.
        reason: String,
    },
    /// Fault: the writer.
    #[error("{key} names the {kind} `{}`, which does not exist{}", name.escape_debug(), nearest(nearest_name))]
    UnknownName {
        /// The full name of the key.
        key: String,
        /// What it should name.
        kind: &'static str,
        /// The name that was written.
        name: String,
        /// The most similar name that exists.
        nearest_name: Option<String>,
    },
    /// Fault: the writer.
    #[error("{key} is listed twice: `{}`", value.escape_debug())]
    Doubled {
        /// The full name of the key.
        key: String,
        /// The doubled value.
        value: String,
    },
    /// Fault: the writer. Two objects that must not contradict each other do.
    #[error("{0}")]
    Conflict(Conflict),
}

/// Two things in the estate that can't both be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// Fault: the writer. A place can't lie in itself.
    #[error("location `{0}` lies in itself")]
    Cycle(String),
    /// Fault: the writer. A rack holds no country.
    #[error("location `{inner}`, a {inner_kind}, can't lie in `{outer}`, a {outer_kind}")]
    Rank {
        /// The inner location.
        inner: String,
        /// Its kind.
        inner_kind: String,
        /// The outer location.
        outer: String,
        /// Its kind.
        outer_kind: String,
    },
    /// Fault: the writer. A node of a cluster elsewhere is an error, not a surprise.
    #[error(
        "node `{node}` is in `{location}`, outside `{place}`, the location of its cluster `{cluster}`"
    )]
    OutsideCluster {
        /// The node.
        node: String,
        /// Where it is.
        location: String,
        /// Its cluster.
        cluster: String,
        /// Where the cluster is.
        place: String,
    },
    /// Fault: the writer. One TPM can't be two machines.
    #[error("nodes `{first}` and `{second}` have the same endorsement key")]
    SharedKey {
        /// One node.
        first: String,
        /// The other node.
        second: String,
    },
    /// Fault: the writer. One image can't be two applications.
    #[error("the same image is in the image sets `{first}` and `{second}`")]
    SharedImage {
        /// One image set.
        first: String,
        /// The other image set.
        second: String,
    },
    /// Fault: the writer. Nobody signed a digest that somebody wrote down.
    #[error(
        "image set `{0}` must be signed, and nobody signed its `digests`: promote the builds instead (`bailiwick image promote`)"
    )]
    ListedUnsigned(String),
    /// Fault: the writer. Without a floor, every old vulnerable build that was ever signed stays a member.
    #[error(
        "image set `{0}` must be signed and keeps every build for ever: give it `keep` or `max_age`"
    )]
    NoFloor(String),
    /// Fault: the writer. Nobody may stand on both sides of an approval.
    #[error("`{person}` is in `{first}` and in `{second}`, which are exclusive duties")]
    Duties {
        /// The person.
        person: String,
        /// One team.
        first: String,
        /// The other team.
        second: String,
    },
    /// Fault: the writer. A robot agrees to everything.
    #[error("`{person}` is a robot, and robots can't stand in `{team}`, which signs changes")]
    Robot {
        /// The robot.
        person: String,
        /// The team.
        team: String,
    },
    /// Fault: the writer. One person can't be two.
    #[error("`{first}` and `{second}` have the same {what}")]
    SharedPerson {
        /// One person.
        first: String,
        /// The other person.
        second: String,
        /// What they share.
        what: &'static str,
    },
    /// Fault: the writer. A rule that nobody can meet locks everybody out.
    #[error("{rule} wants {wanted} of team `{team}`, which has {members}")]
    Unsatisfiable {
        /// The rule of `[approve]`.
        rule: String,
        /// The team.
        team: String,
        /// How many must sign.
        wanted: usize,
        /// How many there are.
        members: usize,
    },
}

/// The most similar of `known`, if any is similar at all.
pub(crate) fn most_similar<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<String> {
    let word = shorten(word);
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(score, _)| *score > 0.7)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate.to_owned())
}

/// No error repeats more than this of what it refuses.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(160).collect()
}

fn nearest(name: &Option<String>) -> String {
    name.as_ref()
        .map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
