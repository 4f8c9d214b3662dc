//! One recipient, whose key files every tool reads.

use std::path::{Path, PathBuf};

use fixture::{FixtureError, run};

/// An RSA key of 3072 bits in files. The private one lies alone in its folder, as decoders want it.
#[derive(Debug, Clone)]
pub struct KeyPair {
    folder: PathBuf,
}

impl KeyPair {
    /// Makes both files in a folder that is there.
    ///
    /// # Errors
    /// [`FixtureError`], when `openssl` is missing or the folder takes nothing.
    pub fn make(folder: &Path) -> Result<Self, FixtureError> {
        let this = Self {
            folder: folder.to_owned(),
        };
        let keys = this.private_folder();
        std::fs::create_dir(&keys).map_err(|source| FixtureError::Io {
            action: "make a folder for keys".to_owned(),
            source,
        })?;
        let (private, public) = (this.private(), this.public());
        let bits = "rsa_keygen_bits:3072";
        let words = ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", bits];
        run(
            "openssl",
            words.into_iter().chain(["-out", private.as_str()]),
        )?;
        let words = ["pkey", "-pubout", "-in", &private, "-out", &public];
        run("openssl", words)?;
        Ok(this)
    }

    /// The private key's file.
    #[must_use]
    pub fn private(&self) -> String {
        self.private_folder().join("key.pem").display().to_string()
    }

    /// The folder that holds nothing but the private key's file.
    #[must_use]
    pub fn private_folder(&self) -> PathBuf {
        self.folder.join("private")
    }

    /// As tools name the recipient: `jwe:FILE`.
    #[must_use]
    pub fn recipient(&self) -> String {
        format!("jwe:{}", self.public())
    }

    fn public(&self) -> String {
        self.folder.join("key.pub").display().to_string()
    }
}
