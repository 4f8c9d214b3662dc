//! Node attestation (DESIGN 5.2), the node's side: new keys, a proof over the connection's exporter, and a hard look at
//! what the server answers.

use std::sync::Arc;

use estate::{Digest, Timestamp};
use evidence::{AttestBinding, Challenge, Confirmation, Proof, Purpose, statement::node_id};
use hpke_xwing::{PrivateKey, Suite};
use jose::EcdsaP256Key;
use spiffe_id::{Bundle, UnixTime, verify_x509_svid};
use tpm_quote::PublicArea;

use crate::{
    agent::Agent,
    ports::{
        Admission, AttestingLink, Connector, Hello, Identification, NodeKeys, NodeKeysError, Probe,
    },
    session::{Identity, SessionError},
};

/// The keys of one attestation, before anybody vouched for them.
struct Fresh {
    statement_key: EcdsaP256Key,
    hpke: PrivateKey,
}

impl Fresh {
    fn generate() -> Result<Self, SessionError> {
        let failed = |what| SessionError::Keys(format!("no {what} could be made"));
        Ok(Self {
            statement_key: EcdsaP256Key::generate().map_err(|_| failed("statement key"))?,
            hpke: PrivateKey::generate(Suite::XWing).map_err(|_| failed("HPKE key"))?,
        })
    }
}

impl<C: Connector, P: Probe> Agent<C, P> {
    /// Attests the node with new keys.
    pub(crate) async fn attest(
        &self,
        purpose: Purpose,
    ) -> Result<(Identity, Bundle), SessionError> {
        let identification = self.with_keys(|keys| keys.identify()).await?;
        let spki = self.keys.node_key_spki();
        let fresh = Fresh::generate()?;
        let mut link = self.connector.attesting().await?;
        let by_token = matches!(identification, Identification::Token(_));
        let binding = self.binding(purpose, &identification, &spki, &fresh, link.exporter())?;
        let challenge = link
            .hello(self.hello(purpose, identification, &spki, &fresh)?)
            .await?;
        let (proof, possession) = self.prove(by_token, &binding, challenge).await?;
        let known = self.witness.known_size();
        let admission = link.prove(proof, possession).await?;
        self.admit(admission, known, fresh, binding, &spki).await
    }

    /// Work with the node's keys, which block, off the async threads.
    pub(crate) async fn with_keys<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn NodeKeys) -> Result<T, NodeKeysError> + Send + 'static,
    ) -> Result<T, SessionError> {
        let keys = Arc::clone(&self.keys);
        let done = tokio::task::spawn_blocking(move || work(&*keys)).await;
        Ok(done
            .map_err(|_| SessionError::Keys("the work with the node's keys broke off".into()))??)
    }

    fn binding(
        &self,
        purpose: Purpose,
        identification: &Identification,
        spki: &[u8],
        fresh: &Fresh,
        exporter: [u8; 32],
    ) -> Result<AttestBinding, SessionError> {
        let (ak_name, node_key_name) = match identification {
            Identification::Tpm {
                ak_public,
                node_key_public,
                ..
            } => (name(ak_public)?, name(node_key_public)?),
            Identification::Token(_) => (Vec::new(), Digest::of(spki).as_bytes().to_vec()),
        };
        Ok(AttestBinding {
            trust_domain: self.config.trust_domain.clone(),
            node: self.config.node.clone(),
            purpose,
            ak_name,
            node_key_name,
            statement_key: fresh.statement_key.public_jwk().clone(),
            hpke_key: Confirmation::of(fresh.hpke.public_key()),
            exporter,
        })
    }

    fn hello(
        &self,
        purpose: Purpose,
        identification: Identification,
        spki: &[u8],
        fresh: &Fresh,
    ) -> Result<Hello, SessionError> {
        let statement_key = serde_json::to_vec(fresh.statement_key.public_jwk())
            .map_err(|_| SessionError::Keys("the statement key can't be written".into()))?;
        Ok(Hello {
            node: self.config.node.to_string(),
            purpose: purpose.as_str(),
            statement_key,
            hpke: Confirmation::of(fresh.hpke.public_key()),
            identification,
            node_key_spki: spki.to_vec(),
        })
    }

    async fn prove(
        &self,
        by_token: bool,
        binding: &AttestBinding,
        challenge: Challenge,
    ) -> Result<(Proof, Vec<u8>), SessionError> {
        let qualifying = binding.qualifying_data(&challenge.nonce);
        self.with_keys(move |keys| match by_token {
            true => {
                let signature = keys.sign_digest(Digest::of(qualifying).as_bytes())?;
                let possession = fixed_signature(&signature).ok_or_else(|| {
                    NodeKeysError("the node key's signature can't be read".into())
                })?;
                Ok((Proof::default(), possession))
            }
            false => Ok((prove_by_tpm(keys, &challenge, &qualifying)?, Vec::new())),
        })
        .await
    }

    /// Believes nothing that the server says of itself beyond what its certificate and the ledger's key vouch for.
    async fn admit(
        &self,
        admission: Admission,
        known: u64,
        fresh: Fresh,
        binding: AttestBinding,
        spki: &[u8],
    ) -> Result<(Identity, Bundle), SessionError> {
        let Admission {
            chain,
            bundle,
            trust_domain,
            epoch,
            lab,
            ledger_key,
            receipt: (leaf, proof),
        } = admission;
        if trust_domain != self.config.trust_domain.as_str() {
            return Err(distrusted("it speaks for another trust domain"));
        }
        if lab && !(self.config.allow_lab && trust_domain.ends_with(".lab")) {
            return Err(distrusted("it is a lab"));
        }
        let witness = Arc::clone(&self.witness);
        let named = ledger_key.clone();
        tokio::task::spawn_blocking(move || witness.pin(&named))
            .await
            .map_err(|_| distrusted("its ledger's key could not be pinned"))??;
        self.witness.verify(&leaf, &proof, known)?;
        let bundle = self.parse_bundle(&bundle)?;
        let not_after = self.check_certificate(&chain, &bundle, spki)?;
        let Fresh {
            statement_key,
            hpke,
        } = fresh;
        let identity = Identity {
            statement_key,
            hpke,
            binding,
            chain,
            epoch,
            lab,
            ledger_key,
            admitted_at: self.clock.now(),
            not_after,
        };
        Ok((identity, bundle))
    }

    pub(crate) fn parse_bundle(&self, bundle: &[u8]) -> Result<Bundle, SessionError> {
        let text = std::str::from_utf8(bundle).map_err(|_| distrusted("its bundle is no text"))?;
        Bundle::parse(&self.config.trust_domain, text)
            .map_err(|_| distrusted("its bundle can't be read"))
    }

    fn check_certificate(
        &self,
        chain: &[Vec<u8>],
        bundle: &Bundle,
        spki: &[u8],
    ) -> Result<Timestamp, SessionError> {
        let now = unix(self.clock.now());
        let svid = verify_x509_svid(chain, &[bundle.x509()], now)
            .map_err(|error| distrusted(&format!("its node certificate is refused: {error}")))?;
        if svid.id().to_string() != node_id(&self.config.trust_domain, &self.config.node) {
            return Err(distrusted("its node certificate names another"));
        }
        if svid.spki_der() != spki {
            return Err(distrusted("its node certificate is for another key"));
        }
        Ok(timestamp(svid.not_after()))
    }
}

/// Seconds since 1970; nothing before.
pub(crate) fn unix(time: Timestamp) -> UnixTime {
    UnixTime::from_secs(u64::try_from(time.as_seconds()).unwrap_or_default())
}

pub(crate) fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

fn prove_by_tpm(
    keys: &dyn NodeKeys,
    challenge: &Challenge,
    qualifying: &[u8; 32],
) -> Result<Proof, NodeKeysError> {
    Ok(Proof {
        activated_secret: keys
            .activate(&challenge.id_object, &challenge.encrypted_secret)?
            .to_vec(),
        certify: keys.certify(qualifying)?,
        quote: keys.quote(qualifying, &challenge.pcrs)?,
        event_log: keys.event_log()?,
    })
}

fn distrusted(why: &str) -> SessionError {
    SessionError::Distrusted(why.to_owned())
}

fn name(public: &[u8]) -> Result<Vec<u8>, SessionError> {
    let public = PublicArea::parse(public)
        .map_err(|_| SessionError::Keys("the TPM's public area can't be read".into()))?;
    Ok(public.name().as_bytes().to_vec())
}

/// `r ‖ s` of a P-256 signature in DER: the form that JOSE, and so the server, verifies.
fn fixed_signature(der: &[u8]) -> Option<Vec<u8>> {
    let (&[0x30, size], content) = der.split_first_chunk::<2>()? else {
        return None;
    };
    if usize::from(size) != content.len() {
        return None;
    }
    let (r, rest) = fixed_integer(content)?;
    let (s, rest) = fixed_integer(rest)?;
    rest.is_empty().then(|| [r, s].concat())
}

fn fixed_integer(der: &[u8]) -> Option<([u8; 32], &[u8])> {
    let (&[0x02, size], rest) = der.split_first_chunk::<2>()? else {
        return None;
    };
    let (number, rest) = rest.split_at_checked(size.into())?;
    let digits = number.strip_prefix(&[0]).unwrap_or(number);
    let mut fixed = [0; 32];
    let start = fixed.len().checked_sub(digits.len())?;
    fixed.get_mut(start..)?.copy_from_slice(digits);
    Some((fixed, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_in_der_becomes_two_numbers() {
        let fixed = fixed_signature(&[0x30, 7, 2, 2, 0, 0x80, 2, 1, 1]).unwrap();
        assert_eq!((fixed.len(), fixed[31], fixed[63]), (64, 0x80, 1));
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        for der in [
            &[][..],
            &[0x30, 3, 2, 1, 1],
            &[0x30, 6, 2, 1, 1, 2, 2, 1],
            &[0x30, 7, 2, 1, 1, 2, 1, 1, 9],
        ] {
            assert!(fixed_signature(der).is_none());
        }
        let long = [&[0x30, 38, 2, 33][..], &[1; 33], &[2, 1, 1]].concat();
        assert!(fixed_signature(&long).is_none());
    }

    proptest::proptest! {
        #[test]
        fn hostile_signatures_never_panic(der in proptest::collection::vec(0_u8.., 0..80)) {
            if let Some(fixed) = fixed_signature(&der) {
                proptest::prop_assert_eq!(fixed.len(), 64);
            }
        }
    }
}
