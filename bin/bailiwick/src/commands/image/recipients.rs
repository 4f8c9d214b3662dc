//! Who may open an image, and with which keys one is opened: names on the command line, files behind them.

use std::{fs, path::PathBuf};

use anyhow::{Context, bail};
use custody::{KeyDocument, KeyDocumentError, KeyUse, RootPin};
use images::Recipients;
use tlog::VerifierKey;

use super::{gpg::Gpg, keys::read_broker_key, providers, tokens};
use crate::{advice::Advice, system::SystemClock};

/// Those who may open the image. Key documents come in the order of the `bailiwick:` recipients.
pub(super) fn read_recipients(
    named: &[String],
    gpg: &Gpg,
    documents: &[PathBuf],
    pin: Option<RootPin>,
    ledger: Option<&VerifierKey>,
) -> anyhow::Result<Recipients> {
    let mut recipients = Recipients::new();
    let mut documents = documents.iter();
    for recipient in named {
        match recipient.split_once(':') {
            Some(("jwe", file)) => {
                let key = fs::read(file).with_context(|| format!("can't read `{file}`"))?;
                recipients
                    .add_public_key(&key)
                    .with_context(|| format!("`{file}` is refused"))?;
            }
            Some(("pkcs7", file)) => {
                let certificate = fs::read(file).with_context(|| format!("can't read `{file}`"))?;
                recipients
                    .add_certificate(&certificate)
                    .with_context(|| format!("`{file}` is refused"))?;
            }
            #[cfg(feature = "pgp")]
            Some(("pgp", named)) => recipients.add_pgp(gpg.recipient(named)?),
            #[cfg(not(feature = "pgp"))]
            Some(("pgp", named)) => return Err(gpg.unknown(named)),
            Some(("pkcs11", file)) => tokens::add_recipient(&mut recipients, file)?,
            Some(("coco", key)) => {
                let (name, file) = read_broker_key(key)?;
                recipients
                    .add_broker_key(name, &file)
                    .with_context(|| format!("`{recipient}` is refused"))?;
            }
            Some(("bailiwick", image)) => {
                let path = documents.next().with_context(|| {
                    Advice::usage(
                        format!("recipient `{recipient}` needs `--key-document`"),
                        format!("`bailiwick image key {image} -o {image}.json` fetches it"),
                    )
                })?;
                let pin = pin.with_context(|| {
                    Advice::usage(
                        "`--root-pin` is needed: whoever could swap the key document would read the image",
                        "`server init` printed it; ask somebody you trust, not the server",
                    )
                })?;
                let text = fs::read_to_string(path)
                    .with_context(|| format!("can't read `{}`", path.display()))?;
                if let Some(ledger) = ledger {
                    announced(&text, pin, ledger)
                        .with_context(|| format!("`{}` is refused", path.display()))?;
                }
                recipients
                    .add_authority(&text, image, pin, SystemClock.timestamp())
                    .with_context(|| format!("`{}` is refused", path.display()))?;
            }
            Some(("provider", named)) => {
                let (service, arguments) = providers::recipient(named)?;
                recipients.add_service(service, arguments);
            }
            _ => {
                return Err(Advice::usage(
                    format!("`{recipient}` is no recipient"),
                    "write `jwe:PUBLIC-KEY-FILE`, `pkcs7:CERTIFICATE-FILE`, `pkcs11:PUBLIC-KEY-FILE`, `pkcs11:KEY.yaml`, `pgp:NAME`, `pgp:FILE`, \
                     `coco:keyid=URI::keypath=FILE`, `bailiwick:IMAGE-SET` or `provider:NAME[:ARGUMENTS]`",
                )
                .error());
            }
        }
    }
    if documents.next().is_some() {
        bail!("more `--key-document` than `bailiwick:` recipients");
    }
    Ok(recipients)
}

fn announced(text: &str, pin: RootPin, ledger: &VerifierKey) -> Result<(), KeyDocumentError> {
    KeyDocument::verify(text, KeyUse::Image, pin, SystemClock.timestamp())?.verify_announced(ledger)
}
