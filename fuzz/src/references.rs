//! Names of images, and what people write to select recipients and platforms.

use images::{Platform, Selector};
use registry::Reference;

use crate::chosen;

/// Tries one name; says whether it was accepted.
pub fn check(input: &[u8]) -> bool {
    let Some((choice, rest)) = chosen(input) else {
        return false;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return false;
    };
    match choice % 3 {
        0 => reference(text),
        1 => same::<Selector>(text).is_some(),
        _ => same::<Platform>(text).is_some(),
    }
}

/// Written and read again, it is the same.
fn same<T>(text: &str) -> Option<T>
where
    T: std::str::FromStr + std::fmt::Display + std::fmt::Debug + PartialEq,
{
    let read: T = text.parse().ok()?;
    let again: Option<T> = read.to_string().parse().ok();
    assert_eq!(again.as_ref(), Some(&read), "what was written is read");
    Some(read)
}

fn reference(text: &str) -> bool {
    let remote = match same::<Reference>(text) {
        Some(Reference::Remote(remote)) => remote,
        other => return other.is_some(),
    };
    // All of it goes into an address: nothing may begin another part of one, or climb.
    let (host, path) = (remote.host().to_string(), remote.repository().as_str());
    let version = remote.version().to_string();
    for part in [host.as_str(), path, version.as_str()] {
        assert!(
            part.is_ascii() && !part.contains(|c: char| c.is_control() || " ?#@%\\".contains(c)),
            "{part}"
        );
    }
    assert!(!host.contains('/') && !version.contains('/'));
    assert!(
        path.split('/').all(|part| !matches!(part, "" | "." | "..")),
        "{path}"
    );
    assert!(path.len() <= 255 && host.len() <= 255 + 6);
    true
}
