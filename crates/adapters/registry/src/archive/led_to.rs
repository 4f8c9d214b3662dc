//! Which blobs of an archive its list still leads to.
//!
//! An image that another one replaced may be the plain form of one that is encrypted now: what only it led to goes.

use std::collections::HashSet;

use estate::Digest;
use images::MANIFEST_LIMIT;
use serde_json::Value;

use super::{Archive, blob_name};
use crate::layout::LayoutIndex;

/// Their names; `None` where a document can't be read, and so nothing may go.
pub(super) fn led_to(archive: &Archive, index: &LayoutIndex) -> Option<HashSet<String>> {
    let mut found = HashSet::new();
    let listed: HashSet<Digest> = index.digests().collect();
    let mut left: Vec<Digest> = listed.iter().copied().collect();
    while let Some(digest) = left.pop() {
        let name = blob_name(&digest);
        let Some(extent) = archive.index.file(&name) else {
            continue;
        };
        if !found.insert(name) || extent.size > MANIFEST_LIMIT {
            continue;
        }
        let bytes = archive.small(extent).ok()?;
        // A small layer is no document; what the list itself names is one.
        if bytes.trim_ascii_start().first() == Some(&b'{') || listed.contains(&digest) {
            let document: Value = serde_json::from_slice(&bytes).ok()?;
            document.as_object()?;
            named(&document, &mut left);
        }
    }
    Some(found)
}

/// The digests in descriptors, wherever they stand and however they are spelled; what a document speaks of is not held by it.
fn named(value: &Value, found: &mut Vec<Digest>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| named(item, found)),
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name.eq_ignore_ascii_case("digest") => {
                        found.extend(text.parse::<Digest>().ok());
                    }
                    _ if name.eq_ignore_ascii_case("subject") => {}
                    member => named(member, found),
                }
            }
        }
        _ => {}
    }
}
