//! A pipeline that promotes builds: its key, an estate that names it, and its statements.

use std::collections::BTreeSet;

use estate::{Digest, PromotionPredicate, PromotionStatement};
use server::ports::Clock;

use crate::{TestServer, files};

/// [`crate::ESTATE`] with a promoter for its image set.
pub fn files_with_promoter() -> Vec<(String, String)> {
    let mut files = files();
    for (path, text) in &mut files {
        if path == "images.toml" {
            text.push_str("[[image.medrec.promoter]]\nkey = \"keys/promoter.pub\"\n");
        }
    }
    files.push((
        "keys/promoter.pub".to_owned(),
        promoter().verifying_key().to_pem(),
    ));
    files
}

/// The pipeline's key.
pub fn promoter() -> dsse::SigningKey {
    dsse::SigningKey::from_pem(PROMOTER).unwrap()
}

impl TestServer {
    /// A statement, JSON, that this image is the build of that revision.
    pub fn promotion(&self, config: Digest, revision: u64, key: &dsse::SigningKey) -> String {
        let predicate = PromotionPredicate {
            trust_domain: self.server.trust_domain().to_string(),
            image_set: "medrec".parse().unwrap(),
            revision,
            manifests: vec![Digest::of("manifest")],
            encrypted: true,
            created: self.clock.now(),
        };
        let statement = PromotionStatement {
            name: None,
            configs: BTreeSet::from([config]),
            predicate,
        };
        serde_json::to_string(&statement.sign(key).unwrap()).unwrap()
    }
}

const PROMOTER: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUF
-----END PRIVATE KEY-----
";
