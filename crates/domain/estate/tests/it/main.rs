//! The estate as people write it, well and badly.
#![expect(clippy::unwrap_used, reason = "test code")]

mod approval;
mod changes;
mod example;
mod hostile;
mod mistakes;
mod people;

use estate::{Estate, EstateError};

/// The example estate, with the files that it names.
fn example_files() -> Vec<(String, String)> {
    [
        ("people.toml", include_str!("../estate/people.toml")),
        ("datasets.toml", include_str!("../estate/datasets.toml")),
        ("inventory.toml", include_str!("../estate/inventory.toml")),
        ("images.toml", include_str!("../estate/images.toml")),
        ("identities.toml", include_str!("../estate/identities.toml")),
        (
            "credentials.toml",
            include_str!("../estate/credentials.toml"),
        ),
        (
            "policies/medical-records.cedar",
            include_str!("../estate/policies/medical-records.cedar"),
        ),
        (
            "tests/medical-records.toml",
            include_str!("../estate/tests/medical-records.toml"),
        ),
        (
            "events/debian12-6.1.115.toml",
            include_str!("../estate/events/debian12-6.1.115.toml"),
        ),
        (
            "events/debian12-6.1.119.toml",
            include_str!("../estate/events/debian12-6.1.119.toml"),
        ),
        (
            "keys/medrec-cosign.pub",
            include_str!("../estate/keys/medrec-cosign.pub"),
        ),
        (
            "keys/k8s-hipaa.pem",
            include_str!("../estate/keys/k8s-hipaa.pem"),
        ),
        ("keys/pg-ca.pem", include_str!("../estate/keys/pg-ca.pem")),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()))
    .to_vec()
}

fn example() -> Estate {
    Estate::parse(&example_files()).unwrap()
}

/// The example with `from` replaced by `to` in one file; the text must be there.
fn edited(path: &str, from: &str, to: &str) -> Result<Estate, EstateError> {
    let mut files = example_files();
    let text = files
        .iter_mut()
        .find(|(name, _)| name == path)
        .map(|(_, text)| text)
        .unwrap();
    assert!(text.contains(from), "`{from}` is not in {path}");
    *text = text.replacen(from, to, 1);
    Estate::parse(&files)
}

/// The example with `more` at the end of one file, which is made if it is not there.
fn appended(path: &str, more: &str) -> Result<Estate, EstateError> {
    let mut files = example_files();
    match files.iter_mut().find(|(name, _)| name == path) {
        Some((_, text)) => text.push_str(more),
        None => files.push((path.to_owned(), more.to_owned())),
    }
    Estate::parse(&files)
}
