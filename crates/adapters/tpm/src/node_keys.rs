//! The agent's port to a TPM: keys are made at the first use, and made again when the connection broke.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use agent::ports::{Identification, NodeKeys, NodeKeysError};
use tpm_quote::{Credential, PcrBank, PcrSelection, PublicArea};
use zeroize::Zeroizing;

use crate::{AttestationKey, EndorsementKey, NodeKey, Tpm, TpmAddress, TpmError};

/// The keys of a node in its TPM. The node key outlives the agent; what the file holds opens only in this TPM.
pub struct TpmNodeKeys {
    address: TpmAddress,
    event_log: PathBuf,
    state: PathBuf,
    public: PublicArea,
    open: Mutex<Option<Open>>,
}

struct Open {
    tpm: Tpm,
    ak: AttestationKey,
    node: NodeKey,
}

impl TpmNodeKeys {
    /// Connects and finds the node key whose handle lies in `state`, or makes one and writes the file.
    ///
    /// # Errors
    /// [`NodeKeysError`]
    pub fn open(
        address: &TpmAddress,
        event_log: &Path,
        state: &Path,
    ) -> Result<Self, NodeKeysError> {
        let open = connect(address, state)?;
        Ok(Self {
            address: address.clone(),
            event_log: event_log.to_owned(),
            state: state.to_owned(),
            public: open.node.public().clone(),
            open: Mutex::new(Some(open)),
        })
    }

    /// Runs `work` with the keys; a broken connection is made anew once.
    fn with<T>(&self, work: impl Fn(&Open) -> Result<T, TpmError>) -> Result<T, NodeKeysError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = open.as_ref() {
            match work(keys) {
                Ok(done) => return Ok(done),
                Err(TpmError::Lost { .. }) => *open = None,
                Err(error) => return Err(failed(error)),
            }
        }
        let keys = connect(&self.address, &self.state)?;
        if keys.node.public() != &self.public {
            return Err(NodeKeysError(
                "the TPM is another one than at the start".to_owned(),
            ));
        }
        let done = work(&keys).map_err(failed);
        *open = Some(keys);
        done
    }
}

fn connect(address: &TpmAddress, state: &Path) -> Result<Open, NodeKeysError> {
    let tpm = Tpm::connect(address).map_err(failed)?;
    let ak = AttestationKey::make(&tpm).map_err(failed)?;
    let node = match fs::read(state) {
        Ok(handle) => NodeKey::restore(&tpm, &handle).map_err(failed)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let node = NodeKey::make(&tpm).map_err(failed)?;
            write_new(state, &node.state())?;
            node
        }
        Err(error) => {
            return Err(NodeKeysError(format!(
                "`{}` can't be read: {error}",
                state.display()
            )));
        }
    };
    Ok(Open { tpm, ak, node })
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), NodeKeysError> {
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write()
        .map_err(|error| NodeKeysError(format!("`{}` can't be written: {error}", path.display())))
}

fn failed(error: TpmError) -> NodeKeysError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    NodeKeysError(text)
}

impl NodeKeys for TpmNodeKeys {
    fn identify(&self) -> Result<Identification, NodeKeysError> {
        self.with(|keys| {
            let ek = EndorsementKey::find(&keys.tpm)?;
            Ok(Identification::Tpm {
                ek_chain: ek.certificate()?.into_iter().collect(),
                ek_public: ek.public().as_bytes().to_vec(),
                ak_public: keys.ak.public().as_bytes().to_vec(),
                node_key_public: keys.node.public().as_bytes().to_vec(),
            })
        })
    }

    fn node_key_spki(&self) -> Vec<u8> {
        self.public.spki_der()
    }

    fn sign_digest(&self, digest: &[u8; 32]) -> Result<Vec<u8>, NodeKeysError> {
        self.with(|keys| keys.node.sign(digest))
    }

    fn activate(
        &self,
        id_object: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NodeKeysError> {
        let credential = Credential {
            id_object: id_object.to_vec(),
            encrypted_secret: encrypted_secret.to_vec(),
        };
        self.with(|keys| EndorsementKey::find(&keys.tpm)?.activate(&keys.ak, &credential))
    }

    fn certify(&self, qualifying: &[u8; 32]) -> Result<(Vec<u8>, Vec<u8>), NodeKeysError> {
        self.with(|keys| keys.ak.certify(&keys.node, qualifying))
            .map(|attestation| (attestation.attest, attestation.signature))
    }

    fn quote(
        &self,
        qualifying: &[u8; 32],
        pcrs: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), NodeKeysError> {
        let selection = PcrSelection::new(PcrBank::Sha256, pcrs.iter().copied())
            .map_err(|error| NodeKeysError(error.to_string()))?;
        self.with(|keys| keys.ak.quote(qualifying, &selection))
            .map(|attestation| (attestation.attest, attestation.signature))
    }

    fn event_log(&self) -> Result<Vec<u8>, NodeKeysError> {
        fs::read(&self.event_log).map_err(|error| {
            NodeKeysError(format!(
                "`{}` can't be read: {error}",
                self.event_log.display()
            ))
        })
    }
}
