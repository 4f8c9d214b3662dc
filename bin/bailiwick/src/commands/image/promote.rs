//! `bailiwick image promote|retire`: a build becomes a member of an image set by a signed statement, and leaves it.

use std::{collections::BTreeSet, fs, path::PathBuf, process::ExitCode, str::FromStr};

use clap::Args;
use dsse::{KeyFileError, SigningKey};
use estate::{Digest, ImageSetName, PromotionPredicate, PromotionStatement};
use images::{Identified, Kind, identify};
use registry::{Reference, ReferenceError, open_source};
use serde::Serialize;
use server::govern::Status;
use web::{
    Call, Client,
    client::Question,
    wire::{Answer, Promotion, Retirement, Submitted},
};
use zeroize::Zeroizing;

use super::RegistryArgs;
use crate::{
    commands::change::words,
    connection::{ConnectionArgs, Context, unreadable},
    output::{CommandError, Exit, lines},
    system::SystemClock,
};

/// Makes the images under a name members of an image set. You sign as one of its promoters; the server checks it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: bailiwick image promote docker://registry.example/medrec:7 --to medrec --key promoter.pem
A promoter's key: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out promoter.pem
Its public half, for `keys/` of the estate: openssl pkey -in promoter.pem -pubout -out medrec.pub")]
pub(super) struct PromoteArgs {
    /// Where the images lie: `docker://HOST/NAME[:TAG|@DIGEST]`, `oci:DIR[:TAG]` or `oci-archive:FILE[:TAG]`.
    source: Reference,
    /// The image set.
    #[arg(long = "to", value_name = "SET")]
    set: ImageSetName,
    /// Private key of a promoter (PEM, not encrypted): P-256 or Ed25519.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A number greater than that of each promotion before, at most the time in milliseconds since 1970, which it is otherwise.
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
    /// The trust domain that the statement is for; otherwise the server's.
    #[arg(long, value_name = "NAME")]
    trust_domain: Option<String>,
    /// Shows the statement, and neither signs nor submits it.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    registries: RegistryArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Takes images out of an image set, for good: a retired image does not come back.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: bailiwick image retire docker://registry.example/medrec:7 --from medrec
Example: bailiwick image retire sha256:5d9c… --from medrec")]
pub(super) struct RetireArgs {
    /// Where the images lie, or the config digest of one, as `image inspect` shows it.
    image: Named,
    /// The image set.
    #[arg(long = "from", value_name = "SET")]
    set: ImageSetName,
    #[command(flatten)]
    registries: RegistryArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// An image by its place or by its config digest.
#[derive(Debug, Clone)]
enum Named {
    Place(Reference),
    Config(Digest),
}

impl FromStr for Named {
    type Err = NamedError;

    fn from_str(text: &str) -> Result<Self, NamedError> {
        if text.starts_with("sha256:") {
            text.parse().map(Self::Config).map_err(NamedError::Digest)
        } else {
            text.parse().map(Self::Place).map_err(NamedError::Place)
        }
    }
}

/// A text names no image. Fault: the caller.
#[derive(Debug, thiserror::Error)]
enum NamedError {
    /// Fault: the caller.
    #[error(transparent)]
    Digest(estate::DigestError),
    /// Fault: the caller.
    #[error(transparent)]
    Place(ReferenceError),
}

/// What was promoted, and what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Promoted<'a> {
    image_set: &'a ImageSetName,
    revision: u64,
    configs: &'a BTreeSet<Digest>,
    encrypted: bool,
    #[serde(flatten)]
    outcome: &'a Submitted,
}

/// What was retired, and what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Retired {
    image_set: ImageSetName,
    config: Digest,
    #[serde(flatten)]
    outcome: Submitted,
}

/// Runs `promote`. The image is read before the server is asked: reading has threads of its own.
pub(super) fn promote(args: PromoteArgs) -> ExitCode {
    let read = read_key(&args.key).and_then(|key| Ok((key, find(&args.source, &args.registries)?)));
    crate::asked(async move {
        let (key, found) = read?;
        let context = args.connection.clone().context()?;
        submit(&context, &args, &key, found).await
    })
}

/// Runs `retire`.
pub(super) fn retire(args: RetireArgs) -> ExitCode {
    let configs = match &args.image {
        Named::Config(config) => Ok(BTreeSet::from([*config])),
        Named::Place(place) => find(place, &args.registries).map(|found| found.configs),
    };
    crate::asked(async move {
        let configs = configs?;
        let context = args.connection.context()?;
        take_out(&context, &args.set, configs).await
    })
}

async fn submit(
    context: &Context,
    args: &PromoteArgs,
    key: &SigningKey,
    found: Identified,
) -> Result<Exit, CommandError> {
    let trust_domain = match &args.trust_domain {
        Some(domain) => domain.clone(),
        None => domain_of(&context.client()?).await?,
    };
    let statement = state(args, trust_domain, found);
    if !statement.predicate.encrypted {
        eprintln!("warning: not every layer is encrypted");
    }
    if args.dry_run {
        let text = |_: &_| shown_text(&statement);
        context.output.print(&statement.to_statement(), text)?;
        return Ok(Exit::Done);
    }
    let envelope = statement
        .sign(key)
        .map_err(|error| CommandError::failed("the statement was not signed").caused_by(&error))?;
    let body = Promotion {
        envelope: envelope.to_string(),
    };
    let outcome = ask(&context.client()?, Call::Promote, &args.set, &body).await?;
    let promoted = Promoted {
        image_set: &args.set,
        revision: statement.predicate.revision,
        configs: &statement.configs,
        encrypted: statement.predicate.encrypted,
        outcome: &outcome,
    };
    context.output.print(&promoted, |_| {
        format!("{}{}", shown_text(&statement), outcome_text(&outcome))
    })?;
    signing_hint(&outcome);
    Ok(Exit::Done)
}

/// What the promoter states of what was found.
fn state(args: &PromoteArgs, trust_domain: String, found: Identified) -> PromotionStatement {
    let now = SystemClock.timestamp();
    let clock = u64::try_from(now.as_millis()).unwrap_or_default();
    PromotionStatement {
        name: Some(args.source.to_string()),
        configs: found.configs,
        predicate: PromotionPredicate {
            trust_domain,
            image_set: args.set.clone(),
            revision: args.revision.unwrap_or(clock),
            manifests: found.manifests.into_iter().collect(),
            encrypted: found.encrypted,
            created: now,
        },
    }
}

/// Each image by itself: one that was retired before, or never was a member, keeps none of the others in.
async fn take_out(
    context: &Context,
    set: &ImageSetName,
    configs: BTreeSet<Digest>,
) -> Result<Exit, CommandError> {
    let client = context.client()?;
    let (mut retired, mut failed) = (Vec::new(), None);
    for config in configs {
        match ask(&client, Call::Retire, set, &Retirement { config }).await {
            Ok(outcome) => {
                let image_set = set.clone();
                retired.push(Retired {
                    image_set,
                    config,
                    outcome,
                });
            }
            Err(error) => {
                eprintln!("warning: `{config}` was not retired");
                failed = failed.or(Some(error));
            }
        }
    }
    if !retired.is_empty() {
        context.output.print(&retired, |retired| {
            let one = |one: &Retired| {
                let pairs = [
                    ("image set", set.to_string()),
                    ("image", one.config.to_string()),
                ];
                format!("{}{}", lines(&pairs), outcome_text(&one.outcome))
            };
            retired.iter().map(one).collect::<Vec<_>>().join("\n")
        })?;
        retired.iter().for_each(|one| signing_hint(&one.outcome));
    }
    failed.map_or(Ok(Exit::Done), Err)
}

async fn ask(
    client: &Client,
    call: Call,
    set: &ImageSetName,
    body: &impl Serialize,
) -> Result<Submitted, CommandError> {
    let path = [("name", set.as_str())];
    let question = Question {
        path: &path,
        query: &[],
    };
    let answer: Answer<Submitted> = client.send(call, question, body).await?;
    Ok(answer.data)
}

async fn domain_of(client: &Client) -> Result<String, CommandError> {
    let answer: Answer<Status> = client.get(Call::Status, Question::default()).await?;
    Ok(answer.data.trust_domain)
}

fn shown_text(statement: &PromotionStatement) -> String {
    let predicate = &statement.predicate;
    let encrypted = if predicate.encrypted { "yes" } else { "no" };
    let mut pairs = vec![
        ("image set", predicate.image_set.to_string()),
        ("trust domain", predicate.trust_domain.clone()),
        ("revision", predicate.revision.to_string()),
        ("encrypted", encrypted.to_owned()),
    ];
    let images = statement.configs.iter();
    pairs.extend(images.map(|config| ("image", config.to_string())));
    lines(&pairs)
}

fn outcome_text(outcome: &Submitted) -> String {
    match (&outcome.applied, &outcome.waiting) {
        (Some(applied), _) => words::applied(applied),
        (None, Some(waiting)) => words::waiting(waiting),
        (None, None) => String::new(),
    }
}

fn signing_hint(outcome: &Submitted) {
    if let Some(waiting) = &outcome.waiting {
        words::how_to_sign(waiting.number, &waiting.hash.to_string());
    }
}

fn read_key(path: &PathBuf) -> Result<SigningKey, CommandError> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| unreadable(path, &error))?;
    SigningKey::from_pem(&text).map_err(|error| {
        let refused = CommandError::usage(format!("`{}` is no key to sign with", path.display()));
        let refused = refused.caused_by(&error);
        match error {
            KeyFileError::Encrypted => {
                refused.hint(format!("`openssl pkey -in {} -out plain.pem` decrypts it", path.display()))
            }
            KeyFileError::EncryptedByCosign => refused.hint(
                "make a key with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out promoter.pem`, \
                 name its public half a promoter, and `cosign import-key-pair --key promoter.pem` lets cosign use it, too",
            ),
            _ => refused.hint(
                "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out promoter.pem` makes one",
            ),
        }
    })
}

fn find(place: &Reference, registries: &RegistryArgs) -> Result<Identified, CommandError> {
    let failed = |kind: Kind, error: &dyn std::error::Error| {
        let exit = match kind {
            Kind::Failed => Exit::Failed,
            Kind::Usage => Exit::Usage,
            Kind::Denied => Exit::Denied,
            Kind::VerificationFailed => Exit::Unverified,
            Kind::Unavailable => Exit::Unavailable,
        };
        CommandError::new(exit, format!("`{place}` can't be read")).caused_by(error)
    };
    let source =
        open_source(place, &registries.options()).map_err(|error| failed(error.kind(), &error))?;
    let found = identify(source.as_ref()).map_err(|error| failed(error.kind(), &error))?;
    if found.configs.len() > dsse::MAX_SUBJECTS {
        let message = format!(
            "`{place}` names {} images, more than {}",
            found.configs.len(),
            dsse::MAX_SUBJECTS
        );
        return Err(CommandError::failed(message).hint("name one of its manifests by digest"));
    }
    Ok(found)
}
