//! The providers of a configuration as key services: blocking on our side, and each question within its bounds of time and size.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use images::{Configured, KeyService, PortError};
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

use crate::config::{self, ConfigError, Entries, Means};
use crate::error::ProviderError;
use crate::protocol::{Operation, ask_to_unwrap, ask_to_wrap, secret_base64, unwrapped, wrapped};
use crate::said::{contains, said};
use crate::{command, grpc, ttrpc};

/// Longest answer of a provider that is read, in bytes: an annotation may have one MiB, and takes four times that as an array.
pub(crate) const LONGEST_ANSWER: usize = 4 * 1024 * 1024;
/// How long a provider may take: behind some of them is a person with a token.
const PATIENCE: Duration = Duration::from_secs(60);

/// All providers that somebody configured.
pub struct Providers(BTreeMap<String, Arc<Provider>>);

/// A provider that is configured can't be asked. Fault: whoever configured it.
#[derive(Debug, thiserror::Error)]
#[error("key provider `{}` can't be used", name.escape_debug())]
pub struct Unusable {
    /// Its name.
    pub name: String,
    /// Why.
    #[source]
    pub source: ConfigError,
}

impl Providers {
    /// Nobody.
    #[must_use]
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Those of the file that `OCICRYPT_KEYPROVIDER_CONFIG` names; nobody when it does not exist.
    ///
    /// # Errors
    /// When it can't be read or is malformed. What is wrong with one provider is told when that one is wanted.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        config::read(path).map(|entries| Self::of(entries, PATIENCE))
    }

    /// Those of a file with this text, each of which may take so long for one answer.
    ///
    /// # Errors
    /// As [`Providers::read`].
    pub fn parse(text: &[u8], patience: Duration) -> Result<Self, ConfigError> {
        config::parse(text).map(|entries| Self::of(entries, patience))
    }

    fn of(entries: Entries, patience: Duration) -> Self {
        let providers = entries.into_iter().map(|(name, means)| {
            let provider = Provider {
                name: name.clone(),
                means: means.map(Arc::new),
                patience,
            };
            (name, Arc::new(provider))
        });
        Self(providers.collect())
    }

    /// The same, each of which may take so long for one answer.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        let providers = self.0.into_iter().map(|(name, provider)| {
            let provider = Provider {
                name: name.clone(),
                means: provider.means.clone(),
                patience,
            };
            (name, Arc::new(provider))
        });
        Self(providers.collect())
    }

    /// The provider of this name, to wrap with.
    ///
    /// # Errors
    /// When it is configured in a way that can't be used here.
    pub fn find(&self, name: &str) -> Result<Configured, Unusable> {
        let Some(provider) = self.0.get(name) else {
            return Ok(Configured::No);
        };
        match &provider.means {
            Ok(_) => Ok(Configured::Yes(Arc::<Provider>::clone(provider))),
            Err(source) => Err(Unusable {
                name: name.to_owned(),
                source: source.clone(),
            }),
        }
    }

    /// All of them, to open with. One that can't be used says so when a packet is for it.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<dyn KeyService>> {
        let each = self.0.values().map(Arc::<Provider>::clone);
        each.map(|provider| provider as Arc<dyn KeyService>)
            .collect()
    }
}

struct Provider {
    name: String,
    means: Result<Arc<Means>, ConfigError>,
    patience: Duration,
}

impl KeyService for Provider {
    fn name(&self) -> &str {
        &self.name
    }

    fn wrap(&self, arguments: &[String], options: &[u8]) -> Result<Vec<u8>, PortError> {
        let question = ask_to_wrap(&self.name, arguments, options);
        self.wrap_by(question, options).map_err(port)
    }

    fn unwrap(&self, arguments: &[String], packet: &[u8]) -> Result<Zeroizing<Vec<u8>>, PortError> {
        let question = ask_to_unwrap(&self.name, arguments, packet);
        let answer = self.ask(Operation::Unwrap, question, Vec::new());
        let options = answer.and_then(|answer| unwrapped(&answer).map_err(ProviderError::Answer));
        options.map_err(port)
    }
}

impl Provider {
    fn wrap_by(
        &self,
        question: Zeroizing<Vec<u8>>,
        options: &[u8],
    ) -> Result<Vec<u8>, ProviderError> {
        let secrets = vec![
            Zeroizing::new(options.to_vec()),
            Zeroizing::new(secret_base64(options).as_bytes().to_vec()),
        ];
        let answer = self.ask(Operation::Wrap, question, secrets.clone())?;
        let packet = wrapped(&answer).map_err(ProviderError::Answer)?;
        // What a provider under test, or one that was misconfigured, gives back would be public.
        match secrets.iter().any(|secret| contains(&packet, secret)) {
            true => Err(ProviderError::InClear),
            false => Ok(packet),
        }
    }

    fn ask(
        &self,
        operation: Operation,
        question: Zeroizing<Vec<u8>>,
        secrets: Vec<Zeroizing<Vec<u8>>>,
    ) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let means = self.means.clone().map_err(ProviderError::Config)?;
        let limit = self.patience;
        blocking(async move {
            let secrets: Vec<&[u8]> = secrets.iter().map(|secret| secret.as_slice()).collect();
            let answer = put(&means, operation, &question, limit, &secrets);
            match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(ProviderError::Slow { limit }),
            }
        })
    }
}

async fn put(
    means: &Means,
    operation: Operation,
    question: &[u8],
    patience: Duration,
    secrets: &[&[u8]],
) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    match means {
        Means::Command { path, args } => {
            let written = command::run(path, args, question).await?;
            written.answer.ok_or_else(|| ProviderError::Ended {
                status: written.status,
                said: said(&written.complaint, secrets),
            })
        }
        Means::Grpc { address, tls } => {
            grpc::ask(address, tls.as_ref(), operation, question, secrets).await
        }
        Means::Ttrpc { socket } => ttrpc::ask(socket, operation, question, patience, secrets).await,
    }
}

/// Waits for a future on a run-time of its own: whoever asks has none, or must not block the one it has.
fn blocking<T: Send + 'static>(
    answer: impl Future<Output = Result<T, ProviderError>> + Send + 'static,
) -> Result<T, ProviderError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime: Runtime = runtime.map_err(ProviderError::Machine)?;
    let (tell, told) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("key-provider".to_owned());
    let waits = thread.spawn(move || {
        let _ = tell.send(runtime.block_on(answer));
    });
    waits.map_err(ProviderError::Machine)?;
    let gone = |_| ProviderError::Machine(std::io::ErrorKind::UnexpectedEof.into());
    told.recv().map_err(gone)?
}

fn port(error: ProviderError) -> PortError {
    PortError::new(error.kind(), error)
}
