//! `image verify --signed-by`: whose word there is for an image, and why all else that lies beside it did not count.

use std::{error::Error, fmt::Write as _, fs, path::PathBuf};

use anyhow::Context;
use clap::Args;
use dsse::VerifyingKey;
use images::{
    ImageSource, NamedKey, Refused, Signature, SignedBy, SignedError, SignedImage, Verification,
    verify_signed,
};

use crate::{advice::Advice, system::SystemClock};

/// Who must have signed.
#[derive(Debug, Args)]
pub(super) struct SignedByArgs {
    /// Public key (PEM) of somebody who must have signed the image: by an image statement, or by cosign with a key. Can be
    /// given several times; one of them is enough.
    #[arg(long, value_name = "FILE")]
    signed_by: Vec<PathBuf>,
    /// The lowest version that an image statement may have. Signatures by cosign say none, and don't count then.
    #[arg(long, value_name = "NUMBER", requires = "signed_by")]
    min_version: Option<u64>,
}

impl SignedByArgs {
    /// What is wanted; `None` when nobody must have signed.
    pub(super) fn read(&self) -> anyhow::Result<Option<SignedBy>> {
        let keys = self.signed_by.iter().map(|path| {
            let text = fs::read_to_string(path);
            let text = text.with_context(|| format!("can't read `{}`", path.display()))?;
            let key = VerifyingKey::from_pem(&text).with_context(|| {
                Advice::usage(
                    format!("`{}` is no key to verify with", path.display()),
                    "`openssl pkey -in release.pem -pubout -out release.pub` writes the public half of a key",
                )
            })?;
            let name = path.display().to_string();
            Ok(NamedKey { name, key })
        });
        let keys: Vec<NamedKey> = keys.collect::<anyhow::Result<_>>()?;
        Ok((!keys.is_empty()).then(|| SignedBy {
            keys,
            floor: self.min_version,
            now: SystemClock.timestamp(),
        }))
    }
}

/// Checks it, and tells what else was found when nothing counts.
pub(super) fn check(
    source: &dyn ImageSource,
    verification: &Verification,
    wanted: &SignedBy,
) -> anyhow::Result<Vec<SignedImage>> {
    let checked = verify_signed(source, verification, wanted);
    if let Err(SignedError::NotSigned { refused, .. }) = &checked {
        for line in refused.iter().map(words) {
            eprintln!("found: {line}");
        }
        if refused.is_empty() {
            eprintln!("found: no image statement and no signature by cosign");
        }
    }
    Ok(checked?)
}

/// Who signed which image, a line each.
pub(super) fn text(signed: &[SignedImage]) -> String {
    let mut text = String::new();
    for image in signed {
        let SignedImage {
            config,
            key,
            signed,
            ..
        } = image;
        let _ = match signed {
            Signature::Statement { version, .. } => {
                writeln!(
                    text,
                    "signed    {config} by {key}: image statement, version {version}"
                )
            }
            Signature::Cosign { over } => {
                writeln!(
                    text,
                    "signed    {config} by {key}: cosign signature of {over}"
                )
            }
        };
    }
    text
}

/// What was found, and the whole chain of reasons.
fn words(refused: &Refused) -> String {
    let mut line = format!("{}: {}", refused.document, refused.why);
    let mut cause = refused.why.source();
    while let Some(error) = cause {
        let _ = write!(line, ": {error}");
        cause = error.source();
    }
    line
}
