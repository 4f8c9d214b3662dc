//! `bailiwick plugin ocicrypt-keyprovider`: our side of ocicrypt's key provider protocol, so that skopeo, buildah, CRI-O and
//! others encrypt for an authority of ours. One question on standard input, one answer on standard output.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use custody::{KeyDocument, KeyUse, RootPin};
use jose::{jwe::EncryptionKey, key_file::parse_public};
use keyprovider::protocol::{self, Question};
use oci_crypt::{
    BailiwickPacket, BailiwickWrapper, JweWrapper, KeyPacket, Opening, PacketWrapper,
    PrivateOptions,
};
use zeroize::Zeroizing;

use crate::{
    advice::Advice, commands::image::read_keys, connection::read_ledger_key, system::SystemClock,
};

/// Answers a question of ocicrypt's key provider protocol; started by skopeo, CRI-O and others, not by people.
///
/// In the file that OCICRYPT_KEYPROVIDER_CONFIG names:
///
///   {"key-providers": {"bailiwick": {"cmd": {"path": "/usr/bin/bailiwick",
///     "args": ["plugin", "ocicrypt-keyprovider", "--root-pin", "sha256:…", "--key-document", "/etc/bailiwick/medrec.json"]}}}}
///
/// and then: skopeo copy --encryption-key provider:bailiwick:medrec SOURCE TARGET
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct OcicryptKeyproviderArgs {
    /// The provider's name in that file. Under any other than `bailiwick` it wraps for `jwe:PUBLIC-KEY-FILE`.
    #[arg(long, default_value = OURS)]
    name: String,
    /// Signed key documents of image sets, as `bailiwick image key` fetches them.
    #[arg(long = "key-document", value_name = "FILE")]
    key_documents: Vec<PathBuf>,
    /// Fingerprint of the trust domain's root, as `bailiwick server init` printed it; needed to encrypt.
    #[arg(long)]
    root_pin: Option<RootPin>,
    /// The ledger's key, or a file with it: key documents must show that their key was announced there.
    #[arg(long, value_name = "KEY|FILE")]
    ledger_key: Option<String>,
    /// Private key files, to open what was wrapped for `jwe:PUBLIC-KEY-FILE`. Where the password is can follow: `:file=PATH`,
    /// `:fd=N`, `:env=NAME` or `:pass=PASSWORD`.
    #[arg(long = "key", value_name = "FILE[:PASSWORD]")]
    keys: Vec<OsString>,
}

/// Runs the command.
pub(crate) fn run(args: &OcicryptKeyproviderArgs) -> ExitCode {
    crate::harden::no_core();
    crate::ended(answer(args))
}

fn answer(args: &OcicryptKeyproviderArgs) -> anyhow::Result<()> {
    let mut text = Zeroizing::new(Vec::with_capacity(64 * 1024));
    io::stdin()
        .lock()
        .take(LONGEST + 1)
        .read_to_end(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > LONGEST) {
        bail!("the question is longer than {LONGEST} bytes");
    }
    let answer = match protocol::question(&text)? {
        Question::Wrap { arguments, options } => {
            let named = arguments.get(&args.name).with_context(|| {
                Advice::usage(
                    format!("the question has no arguments for `{}`", args.name),
                    "`--name` is the provider's name in the configuration of the tool that asks",
                )
            })?;
            protocol::answer_wrapped(&wrap(args, named, &options)?)
        }
        Question::Unwrap { packet } => {
            protocol::answer_unwrapped(unwrap(args, packet)?.expose_bytes())
        }
    };
    io::stdout().lock().write_all(&answer)?;
    Ok(())
}

fn wrap(
    args: &OcicryptKeyproviderArgs,
    named: &[Vec<u8>],
    options: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let options = PrivateOptions::parse(options).context("the layer's options are refused")?;
    let named: Vec<&str> = named
        .iter()
        .map(|text| std::str::from_utf8(text))
        .collect::<Result<_, _>>()
        .context("the recipient is no text")?;
    let packet = match (args.name == OURS, named.as_slice()) {
        (true, [recipient]) => authority(args, recipient)?.wrap(&options)?,
        (true, _) => bail!(
            "one packet is for one image set, and {} are named",
            named.len()
        ),
        (false, _) => public_keys(&named)?.wrap(&options)?,
    };
    if !options.bound().is_bound() {
        eprintln!(
            "note: the layer's key is not bound to its image; `bailiwick image encrypt` binds it"
        );
    }
    Ok(packet.to_bytes())
}

/// The authority behind `[bailiwick:]IMAGE-SET`, or behind the path of a key document. The pinned root has signed either.
fn authority(args: &OcicryptKeyproviderArgs, recipient: &str) -> anyhow::Result<BailiwickWrapper> {
    let image = recipient.strip_prefix("bailiwick:").unwrap_or(recipient);
    let is_path = image.contains('/');
    let files = match is_path {
        true => vec![PathBuf::from(image)],
        false => args.key_documents.clone(),
    };
    let pin = args.root_pin.with_context(|| {
        Advice::usage(
            "`--root-pin` is needed: whoever could swap the key document would read the image",
            "add it to `args` in the configuration of the tool that asks",
        )
    })?;
    let ledger = args.ledger_key.as_deref().map(read_ledger_key).transpose();
    let ledger = ledger.map_err(|error| anyhow!("{error}"))?;
    let mut found = None;
    for file in files {
        let text = fs::read_to_string(&file)
            .with_context(|| format!("can't read `{}`", file.display()))?;
        let document = KeyDocument::verify(&text, KeyUse::Image, pin, SystemClock.timestamp())
            .and_then(|document| match &ledger {
                Some(ledger) => document.verify_announced(ledger).map(|()| document),
                None => Ok(document),
            })
            .with_context(|| format!("`{}` is refused", file.display()))?;
        // A document that is named alone needs no image: it names its own.
        let is_wanted = is_path || document.resource == image || image == NO_ARGUMENTS;
        if is_wanted && found.replace(document).is_some() {
            bail!("more than one key document is for `{image}`");
        }
    }
    let document = found.with_context(|| {
        Advice::usage(
            format!("no `--key-document` is for the image set `{image}`"),
            format!("`bailiwick image key {image} -o {image}.json` fetches it"),
        )
    })?;
    Ok(BailiwickWrapper {
        key: document.public_key()?,
        authority: document.authority,
        resource: document.resource,
    })
}

fn public_keys(named: &[&str]) -> anyhow::Result<JweWrapper> {
    let mut keys = Vec::new();
    for recipient in named {
        let file = recipient.strip_prefix("jwe:").with_context(|| {
            Advice::usage(
                format!("`{recipient}` is no recipient of this provider"),
                "write `jwe:PUBLIC-KEY-FILE`; image sets are for the provider named `bailiwick`",
            )
        })?;
        let text = fs::read(file).with_context(|| format!("can't read `{file}`"))?;
        let refused = || format!("`{file}` is refused");
        let key = parse_public(&text).with_context(refused)?;
        keys.push(EncryptionKey::from_jwk(&key).with_context(refused)?);
    }
    Ok(JweWrapper::new(keys))
}

fn unwrap(args: &OcicryptKeyproviderArgs, packet: Vec<u8>) -> anyhow::Result<PrivateOptions> {
    if let Ok(packet) = BailiwickPacket::parse(&packet) {
        return Err(Advice::failed(
            format!(
                "the key of the image set `{}` is released for a layer on a node, and this protocol does not say which layer is meant",
                packet.resource().escape_debug()
            ),
            "let containerd decrypt with `bailiwick plugin containerd-decoder`",
        )
        .error());
    }
    if args.keys.is_empty() {
        bail!("the packet is not for an image set, and there is no `--key` to open it with");
    }
    let keys = read_keys(&args.keys)?;
    let packet = KeyPacket::Jwe(packet);
    let mut failed = None;
    for (key, opener) in keys.named_openers() {
        match opener.open(&packet) {
            Opening::Opened(options) => return Ok(options),
            Opening::Failed(error) => failed = failed.or(Some((key, error))),
            Opening::NotOurs => {}
        }
    }
    match failed {
        Some((key, error)) => {
            Err(error).with_context(|| format!("`{key}` does not open the packet"))
        }
        None => bail!("no `--key` opens the packet"),
    }
}

/// The name whose packets are ours.
const OURS: &str = "bailiwick";
/// What other tools send for a provider that is named alone.
const NO_ARGUMENTS: &str = "Enabled";
/// Some tools send all private keys along.
const LONGEST: u64 = 4 * 1024 * 1024;
