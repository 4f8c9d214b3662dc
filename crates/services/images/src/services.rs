//! Key services as recipients and as openers, in the shape of every other scheme.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use estate::Digest;
use oci_crypt::{
    Foreign, KeyPacket, OpenError, Opening, PacketError, PacketOpener, PacketWrapper,
    PrivateOptions, Scheme, SealError, WrapError,
};
use zeroize::Zeroizing;

use crate::error::ImageError;
use crate::ports::{KeyService, PortError};

/// What comes before a service's name in a scheme.
const PREFIX: &str = "provider.";

/// Opens packets by asking the services whose name they bear; a packet of a service that is not among them is not ours.
///
/// A packet is asked about when no key before it opened its layer, and then together with all others of the image that are for
/// the same service.
pub struct ServiceOpener {
    services: Vec<ServiceKey>,
    known: Mutex<Known>,
}

/// One service to ask, and what the caller wrote for it.
pub struct ServiceKey {
    /// The service.
    pub service: Arc<dyn KeyService>,
    /// What is sent with each packet; usually nothing.
    pub arguments: Vec<String>,
}

/// Packets by their digest. What was opened stays, since an image is looked at twice; a failure is told once and then forgotten.
#[derive(Default)]
struct Known {
    expected: Vec<(String, Vec<u8>)>,
    answers: HashMap<Digest, Result<Zeroizing<Vec<u8>>, PortError>>,
}

impl ServiceOpener {
    /// An opener that asks these.
    #[must_use]
    pub fn new(services: Vec<ServiceKey>) -> Self {
        Self {
            services,
            known: Mutex::default(),
        }
    }

    /// Whether it would ask anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    fn service(&self, scheme: &Scheme) -> Option<&ServiceKey> {
        let name = service_name(scheme)?;
        let mut services = self.services.iter();
        services.find(|key| key.service.name() == name)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a packet, and for those that were announced beside it.
    fn ask(&self, key: &ServiceKey, bytes: &[u8]) {
        let ServiceKey { service, arguments } = key;
        let mut wanted = vec![bytes.to_vec()];
        {
            let mut known = self.known();
            let Known { expected, answers } = &mut *known;
            let (ours, others) = std::mem::take(expected)
                .into_iter()
                .partition::<Vec<_>, _>(|(name, _)| name == service.name());
            *expected = others;
            let unknown = ours.into_iter().map(|(_, bytes)| bytes);
            wanted.extend(
                unknown.filter(|other| other != bytes && !answers.contains_key(&Digest::of(other))),
            );
        }
        wanted.sort();
        wanted.dedup();
        let answers = at_once(&wanted, |packet| service.unwrap(arguments, packet));
        let answered = wanted.iter().zip(answers);
        let answered = answered.filter_map(|(packet, answer)| Some((Digest::of(packet), answer?)));
        self.known().answers.extend(answered);
    }
}

impl PacketOpener for ServiceOpener {
    fn open(&self, packet: &KeyPacket) -> Opening {
        let Some((scheme, bytes)) = for_a_service(packet) else {
            return Opening::NotOurs;
        };
        let Some(key) = self.service(&scheme) else {
            return Opening::NotOurs;
        };
        let id = Digest::of(&bytes);
        if !self.known().answers.contains_key(&id) {
            self.ask(key, &bytes);
        }
        let mut known = self.known();
        match known.answers.remove(&id) {
            Some(Ok(options)) => {
                let opening = match PrivateOptions::parse(&options) {
                    Ok(options) => Opening::Opened(options),
                    Err(source) => Opening::Failed(PacketError::Options { source }),
                };
                known.answers.insert(id, Ok(options));
                opening
            }
            Some(Err(source)) => Opening::Failed(PacketError::Service {
                service: key.service.name().to_owned(),
                source: Box::new(source),
            }),
            // Another thread was told of the failure; this packet is asked about when it is tried again.
            None => Opening::NotOurs,
        }
    }

    fn expect(&self, packets: &[KeyPacket]) {
        let ours = packets.iter().filter_map(for_a_service);
        let ours = ours.filter_map(|(scheme, bytes)| {
            let key = self.service(&scheme)?;
            Some((key.service.name().to_owned(), bytes))
        });
        // Those of the image before this one are no longer wanted: an index of many would pile them up.
        self.known().expected = ours.collect();
    }
}

/// One recipient: a service, and what its caller wrote behind its name.
#[derive(Clone)]
pub(crate) struct ServiceWrapper {
    pub(crate) service: Arc<dyn KeyService>,
    pub(crate) arguments: Vec<String>,
}

impl PacketWrapper for ServiceWrapper {
    fn wrap(&self, options: &PrivateOptions) -> Result<KeyPacket, WrapError> {
        let Self { service, arguments } = self;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| WrapError::Service {
            service: service.name().to_owned(),
            source,
        };
        let scheme: Scheme = format!("{PREFIX}{}", service.name())
            .parse()
            .map_err(|error: PacketError| failed(error.into()))?;
        let bytes = service
            .wrap(arguments, options.expose_bytes())
            .map_err(|error| failed(error.into()))?;
        Ok(KeyPacket::Foreign(Foreign { scheme, bytes }))
    }
}

/// Scheme and bytes of a packet that a service may have made. Ours is in the same slot, and no provider's.
fn for_a_service(packet: &KeyPacket) -> Option<(Scheme, Vec<u8>)> {
    let scheme = packet.scheme();
    service_name(&scheme)?;
    Some((scheme, packet.to_bytes()))
}

fn service_name(scheme: &Scheme) -> Option<&str> {
    match scheme.as_str() {
        Scheme::BAILIWICK => None,
        name => name.strip_prefix(PREFIX),
    }
}

/// Asks about all of them, a bounded number at a time, and gives the answers in order; none where asking broke down.
fn at_once<T: Sync, A: Send>(questions: &[T], ask: impl Fn(&T) -> A + Sync) -> Vec<Option<A>> {
    let mut answers = Vec::with_capacity(questions.len());
    for some in questions.chunks(MOST_AT_ONCE) {
        thread::scope(|scope| {
            let ask = &ask;
            let asked: Vec<_> = some
                .iter()
                .map(|question| scope.spawn(move || ask(question)))
                .collect();
            answers.extend(asked.into_iter().map(|asked| asked.join().ok()));
        });
    }
    answers
}

/// How many questions are open at a time.
pub(crate) const MOST_AT_ONCE: usize = 16;

/// Why a layer's key was not opened; what a service said keeps its own exit code.
pub(crate) fn not_opened(index: usize, error: OpenError) -> ImageError {
    match error {
        OpenError::NoKey { .. } => ImageError::NoKey { index },
        OpenError::Packet {
            layer,
            scheme,
            source: PacketError::Service { service, source },
        } => match source.downcast::<PortError>() {
            Ok(source) => ImageError::KeyService {
                index,
                service,
                source: *source,
            },
            Err(source) => ImageError::Open {
                index,
                source: OpenError::Packet {
                    layer,
                    scheme,
                    source: PacketError::Service { service, source },
                },
            },
        },
        source => ImageError::Open { index, source },
    }
}

/// Why a layer's key was not wrapped, likewise.
pub(crate) fn not_sealed(index: usize, error: SealError) -> ImageError {
    match error {
        SealError::Wrap {
            source: WrapError::Service { service, source },
        } => match source.downcast::<PortError>() {
            Ok(source) => ImageError::KeyService {
                index,
                service,
                source: *source,
            },
            Err(source) => ImageError::Seal {
                index,
                source: SealError::Wrap {
                    source: WrapError::Service { service, source },
                },
            },
        },
        source => ImageError::Seal { index, source },
    }
}

#[cfg(test)]
mod tests;
