//! What `server init` made, for those who pin it: people read it, programs parse it.

use std::path::Path;

use estate::Founders;
use serde::Serialize;

/// A new trust domain.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Made {
    trust_domain: String,
    /// The root's fingerprint.
    root: String,
    root_file: String,
    ledger_key: String,
    founders: Vec<Founder>,
    quorum: usize,
    of: usize,
}

/// One key of a founder.
#[derive(Debug, Serialize)]
struct Founder {
    person: String,
    key: String,
}

impl Made {
    /// What is known after `init`.
    pub(super) fn new(
        trust_domain: String,
        root: String,
        root_file: &Path,
        ledger_key: String,
        founders: &Founders,
    ) -> Self {
        let keys = founders.people.iter().flat_map(|(person, keys)| {
            keys.iter().map(|key| Founder {
                person: person.to_string(),
                key: key.fingerprint(),
            })
        });
        Self {
            trust_domain,
            root,
            root_file: root_file.display().to_string(),
            ledger_key,
            founders: keys.collect(),
            quorum: founders.quorum,
            of: founders.people.len(),
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let founders: String = self
            .founders
            .iter()
            .map(|founder| format!("founder       {} {}\n", founder.person, founder.key))
            .collect();
        format!(
            "trust domain  {}\nroot          {}\nroot file     {}\nledger key    {}\n{founders}quorum        {} of {}\n",
            self.trust_domain, self.root, self.root_file, self.ledger_key, self.quorum, self.of
        )
    }
}
