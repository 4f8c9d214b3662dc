//! `bailiwick plugin ocicrypt-keyprovider`: our side of ocicrypt's key provider protocol, so that skopeo, buildah, CRI-O and
//! others encrypt for an authority of ours. One question on standard input, one answer on standard output.

use std::{
    fs,
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;
use custody::{KeyDocument, KeyUse, RootPin};
use jose::{
    jwe::EncryptionKey,
    key_file::{parse_private, parse_public},
};
use keyprovider::protocol::{self, Question};
use oci_crypt::{
    BailiwickPacket, BailiwickWrapper, JweOpener, JweWrapper, KeyPacket, Opening, PacketOpener,
    PacketWrapper, PrivateOptions,
};
use zeroize::Zeroizing;

use crate::{advice::Advice, system::SystemClock};

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
    /// Private key files, to open what was wrapped for `jwe:PUBLIC-KEY-FILE`.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &OcicryptKeyproviderArgs) -> ExitCode {
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
    let mut found = None;
    for file in files {
        let text = fs::read_to_string(&file)
            .with_context(|| format!("can't read `{}`", file.display()))?;
        let document = KeyDocument::verify(&text, KeyUse::Image, pin, SystemClock.timestamp())
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
    let mut keys = Vec::new();
    for path in &args.keys {
        let text = fs::read(path).map(Zeroizing::new);
        let text = text.with_context(|| format!("can't read `{}`", path.display()))?;
        keys.push(
            parse_private(&text).with_context(|| format!("`{}` is refused", path.display()))?,
        );
    }
    match JweOpener::new(keys).open(&KeyPacket::Jwe(packet)) {
        Opening::Opened(options) => Ok(options),
        Opening::Failed(error) => Err(error.into()),
        Opening::NotOurs => bail!("no `--key` opens the packet"),
    }
}

/// The name whose packets are ours.
const OURS: &str = "bailiwick";
/// What other tools send for a provider that is named alone.
const NO_ARGUMENTS: &str = "Enabled";
/// Some tools send all private keys along.
const LONGEST: u64 = 4 * 1024 * 1024;
