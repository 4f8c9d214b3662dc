//! SVIDs from a logged permit: nobody signs an identity that the ledger does not hold.

use std::time::Duration;

use estate::Timestamp;
use jose::{Header, sign_compact};
use ledger::{Commitment, LoggedPermit};
use policy::Issue;
use rcgen::CustomExtension;
use serde::Serialize;
use spiffe_id::SpiffeId;

use crate::{
    Authority, IssueError, Serial,
    authority::{BOTH_ENDS, leaf_params, uri},
    facts::{FACTS_OID, MeasuredFacts},
};

impl Authority {
    /// An X.509-SVID for the key `spki`: leaf, then intermediates, DER; and the permit's commitment.
    ///
    /// # Errors
    /// [`IssueError`]
    pub fn x509_svid(
        &self,
        logged: &LoggedPermit<Issue>,
        id: &SpiffeId,
        spki: &[u8],
        serial: Serial,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Vec<Vec<u8>>, IssueError> {
        self.check(id)?;
        let facts = MeasuredFacts::of(logged.permit().evidence(), logged.commitment().index);
        let mut params = leaf_params(id.path(), serial, now, ttl);
        params.subject_alt_names = vec![uri(&id.to_string())?];
        params.extended_key_usages = BOTH_ENDS.to_vec();
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(FACTS_OID, facts.to_der())];
        self.sign(&params, spki)
    }

    /// A JWT-SVID (header `alg`, `kid`, `typ` only), with the measured facts as the private claim `bailiwick`.
    ///
    /// # Errors
    /// [`IssueError`]
    pub fn jwt_svid(
        &self,
        logged: &LoggedPermit<Issue>,
        id: &SpiffeId,
        audience: &[String],
        now: Timestamp,
        ttl: Duration,
    ) -> Result<String, IssueError> {
        #[derive(Serialize)]
        struct Claims<'a> {
            sub: String,
            aud: &'a [String],
            iat: i64,
            exp: i64,
            bailiwick: MeasuredFacts,
        }
        self.check(id)?;
        let Commitment { index, .. } = logged.commitment();
        let claims = Claims {
            sub: id.to_string(),
            aud: audience,
            iat: now.as_seconds(),
            exp: now.plus(ttl).as_seconds(),
            bailiwick: MeasuredFacts::of(logged.permit().evidence(), *index),
        };
        let payload = serde_json::to_vec(&claims).map_err(|_| IssueError::Failed)?;
        let header = Header::new(jose::Algorithm::Es256)
            .with_kid(self.jwt_kid.clone())
            .with_typ("JWT");
        sign_compact(&header, &payload, &self.jwt).map_err(|_| IssueError::Failed)
    }

    fn check(&self, id: &SpiffeId) -> Result<(), IssueError> {
        match id.trust_domain() == self.trust_domain() && !id.path().is_empty() {
            true => Ok(()),
            false => Err(IssueError::Identity(id.to_string())),
        }
    }
}
