//! SPIFFE identities for callers: keys made on the node, certificates from the release path, and never one that was
//! made for other facts.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use estate::Timestamp;
use evidence::{
    Action, WorkloadFacts,
    request::{IssueRequest, SvidRequest},
};
use jose::EcdsaP256Key;
use spiffe_id::{SpiffeId, validate_jwt_svid, verify_x509_svid};
use zeroize::Zeroizing;

use crate::{
    agent::{Agent, JwtSvid, X509Svid},
    ask::{Measured, plain},
    attest::{timestamp, unix},
    error::AgentError,
    ports::{Connector, Probe},
    session::half_life,
};

/// X.509-SVIDs at hand. A copy is handed out only to a caller with exactly the measured facts that it was made for,
/// under the same version of the estate, in the first half of its life.
#[derive(Default)]
pub(crate) struct SvidCache(Mutex<HashMap<Key, Cached>>);

#[derive(PartialEq, Eq, Hash)]
struct Key {
    /// The facts as JSON: members in a fixed order, so equal facts are equal texts.
    facts: String,
    policy: u64,
}

struct Cached {
    svid: X509Svid,
    until: Timestamp,
}

impl SvidCache {
    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Forgets what was made under another version of the estate.
    pub(crate) fn keep_policy(&self, policy: u64) {
        self.lock().retain(|key, _| key.policy == policy);
    }

    fn find(&self, key: &Key, now: Timestamp) -> Option<X509Svid> {
        self.lock()
            .get(key)
            .filter(|cached| now < cached.until)
            .map(|cached| copy(&cached.svid))
    }

    fn put(&self, key: Key, svid: &X509Svid, until: Timestamp, now: Timestamp) {
        let mut cache = self.lock();
        if cache.len() >= MAX_CACHED {
            cache.retain(|_, cached| now < cached.until);
        }
        if cache.len() < MAX_CACHED {
            cache.insert(
                key,
                Cached {
                    svid: copy(svid),
                    until,
                },
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Cached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Connector, P: Probe> Agent<C, P> {
    /// An X.509-SVID for a caller, who is measured at each call.
    ///
    /// # Errors
    /// [`AgentError`]
    pub async fn x509_svid(&self, caller: &P::Caller) -> Result<X509Svid, AgentError> {
        self.refuse_if_offline()?;
        let measured = self.measured(caller).await?;
        let policy = self.standing().borrow().policy;
        let key = Key {
            facts: facts_text(measured.workload.as_ref())?,
            policy,
        };
        if let Some(svid) = self.svids.find(&key, self.clock.now()) {
            return Ok(svid);
        }
        let (svid, until) = self.issue_x509(measured).await?;
        // A version that came meanwhile may not grant it any more.
        if self.standing().borrow().policy == policy {
            self.svids.put(key, &svid, until, self.clock.now());
        }
        Ok(svid)
    }

    /// A JWT-SVID for a caller and these audiences.
    ///
    /// # Errors
    /// [`AgentError`]
    pub async fn jwt_svid(
        &self,
        caller: &P::Caller,
        audience: Vec<String>,
    ) -> Result<JwtSvid, AgentError> {
        let first = audience
            .first()
            .cloned()
            .ok_or_else(|| AgentError::Caller("there is no audience".into()))?;
        if audience.iter().any(String::is_empty) || audience.len() > MAX_AUDIENCES {
            return Err(AgentError::Caller(
                "an audience is empty, or there are too many".into(),
            ));
        }
        let measured = self.measured(caller).await?;
        let wanted = audience.clone();
        let parts = self.issue(measured, SvidRequest::Jwt { audience }).await?;
        let [token] = &parts[..] else {
            return Err(unfit("it is not one token"));
        };
        let token = String::from_utf8(token.clone()).map_err(|_| unfit("the token is no text"))?;
        let bundle = self.bundle().borrow().clone();
        let svid = validate_jwt_svid(&token, &first, &[&bundle], unix(self.clock.now()))
            .map_err(|error| unfit(&error.to_string()))?;
        self.check_id(svid.id())?;
        if !wanted
            .iter()
            .all(|audience| svid.audience().contains(audience))
        {
            return Err(unfit("the token is for others"));
        }
        Ok(JwtSvid {
            id: svid.id().clone(),
            expires: timestamp(svid.expires_at()),
            token,
        })
    }

    async fn issue_x509(&self, measured: Measured) -> Result<(X509Svid, Timestamp), AgentError> {
        let failed = || AgentError::Unavailable("no key could be made".into());
        let key = EcdsaP256Key::generate().map_err(|_| failed())?;
        let spki = key.public_jwk().to_spki_der().map_err(|_| failed())?;
        let chain = self
            .issue(
                measured,
                SvidRequest::X509 {
                    spki: STANDARD.encode(&spki),
                },
            )
            .await?;
        let bundle = self.bundle().borrow().clone();
        let svid = verify_x509_svid(&chain, &[bundle.x509()], unix(self.clock.now()))
            .map_err(|error| unfit(&error.to_string()))?;
        self.check_id(svid.id())?;
        if svid.spki_der() != spki {
            return Err(unfit("the certificate is for another key"));
        }
        let not_after = timestamp(svid.not_after());
        let key_pkcs8 = key.to_pkcs8().map_err(|_| failed())?;
        Ok((
            X509Svid {
                id: svid.id().clone(),
                chain,
                key_pkcs8,
                not_after,
            },
            half_life(self.clock.now(), not_after),
        ))
    }

    async fn issue(
        &self,
        measured: Measured,
        svid: SvidRequest,
    ) -> Result<Vec<Vec<u8>>, AgentError> {
        // Nothing is sealed in the answer; the node's own key stands where a statement must name one.
        let cnf = self.session().await?.0.identity.confirmation();
        let request = IssueRequest { v: 1, svid };
        let delivered = self
            .release(Action::Issue, &request, cnf, measured, Vec::new())
            .await?;
        plain(&delivered).map(<[Vec<u8>]>::to_vec)
    }

    /// A server vouches for workloads of its own domain, never for nodes or itself.
    fn check_id(&self, id: &SpiffeId) -> Result<(), AgentError> {
        let reserved = id.path() == "/server" || id.path().starts_with("/node/");
        match id.is_member_of(&self.config.trust_domain) && !reserved {
            true => Ok(()),
            false => Err(unfit("the identity is none of a workload here")),
        }
    }
}

fn facts_text(facts: Option<&WorkloadFacts>) -> Result<String, AgentError> {
    serde_json::to_string(&facts)
        .map_err(|_| AgentError::Unavailable("the facts can't be written".into()))
}

fn unfit(why: &str) -> AgentError {
    AgentError::BadReceipt(why.to_owned())
}

/// Keys are copied on purpose, one copy per caller, and nowhere else: the type has no `Clone`.
fn copy(svid: &X509Svid) -> X509Svid {
    let X509Svid {
        id,
        chain,
        key_pkcs8,
        not_after,
    } = svid;
    let key_pkcs8 = Zeroizing::new(key_pkcs8.to_vec());
    X509Svid {
        id: id.clone(),
        chain: chain.clone(),
        key_pkcs8,
        not_after: *not_after,
    }
}

const MAX_CACHED: usize = 1024;
const MAX_AUDIENCES: usize = 16;
