//! Services that answer, refuse, vanish and lie.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oci_crypt::{Bound, LayerSealer, SystemRandomness};

use super::*;
use crate::error::Kind;

/// Wraps nothing: whoever has the packet has the options.
#[derive(Default)]
struct Fake {
    name: String,
    asked: AtomicUsize,
    together: Option<Barrier>,
    lies: Option<Vec<u8>>,
    refuses: bool,
}

impl Fake {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

impl KeyService for Fake {
    fn name(&self) -> &str {
        &self.name
    }

    fn wrap(&self, arguments: &[String], options: &[u8]) -> Result<Vec<u8>, PortError> {
        assert_eq!(arguments, ["Enabled", "more"]);
        Ok([b"wrapped:", options].concat())
    }

    fn unwrap(&self, _: &[String], packet: &[u8]) -> Result<Zeroizing<Vec<u8>>, PortError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(together) = &self.together {
            together.wait();
        }
        if self.refuses {
            return Err(PortError::new(
                Kind::Unavailable,
                std::io::Error::other("away"),
            ));
        }
        let lies = self.lies.clone().map(Zeroizing::new);
        Ok(lies
            .unwrap_or_else(|| Zeroizing::new(packet.strip_prefix(b"wrapped:").unwrap().to_vec())))
    }
}

fn opener(service: Arc<Fake>) -> ServiceOpener {
    let arguments = Vec::new();
    ServiceOpener::new(vec![ServiceKey { service, arguments }])
}

fn options() -> PrivateOptions {
    let sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
    let digest = oci_crypt::Digest::of(b"plain");
    sealer
        .finish()
        .unwrap()
        .into_options(digest, Bound::Unbound)
        .1
}

fn packet(scheme: &str, options: &PrivateOptions) -> KeyPacket {
    KeyPacket::Foreign(Foreign {
        scheme: scheme.parse().unwrap(),
        bytes: [b"wrapped:", options.expose_bytes()].concat(),
    })
}

#[test]
fn what_a_service_wrapped_it_opens() {
    let service = Arc::new(Fake::named("kms"));
    let wrapper = ServiceWrapper {
        service: service.clone(),
        arguments: vec!["Enabled".to_owned(), "more".to_owned()],
    };
    let options = options();
    let packet = wrapper.wrap(&options).unwrap();
    assert_eq!(packet.scheme().as_str(), "provider.kms");
    let Opening::Opened(opened) = opener(service).open(&packet) else {
        panic!("it did not open");
    };
    assert_eq!(opened.expose_bytes(), options.expose_bytes());
}

#[test]
fn packets_of_other_schemes_and_other_services_are_not_ours() {
    let service = Arc::new(Fake::named("kms"));
    let opener = opener(service.clone());
    let options = options();
    for scheme in [
        "provider.kms2",
        "provider.",
        "kms",
        "jwe",
        "pgp",
        "provider.KMS",
    ] {
        let packet = packet(scheme, &options);
        assert!(matches!(opener.open(&packet), Opening::NotOurs), "{scheme}");
    }
    assert_eq!(service.asked.load(Ordering::SeqCst), 0);
}

/// The barrier opens only when all three questions are out at the same time.
#[test]
fn all_announced_packets_are_asked_about_at_once_and_only_once() {
    let service = Arc::new(Fake {
        together: Some(Barrier::new(3)),
        ..Fake::named("kms")
    });
    let opener = opener(service.clone());
    let packets: Vec<_> = (0..3).map(|_| packet("provider.kms", &options())).collect();
    opener.expect(&packets);
    for _ in 0..2 {
        for packet in &packets {
            assert!(matches!(opener.open(packet), Opening::Opened(_)));
        }
        opener.expect(&packets);
    }
    assert_eq!(service.asked.load(Ordering::SeqCst), 3);
}

#[test]
fn announced_packets_that_nobody_tries_are_never_asked_about() {
    let service = Arc::new(Fake::named("kms"));
    let opener = opener(service.clone());
    opener.expect(&[packet("provider.kms", &options())]);
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(service.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_failure_keeps_its_exit_code_and_is_asked_again() {
    let service = Arc::new(Fake {
        refuses: true,
        ..Fake::named("kms")
    });
    let opener = opener(service.clone());
    let packet = packet("provider.kms", &options());
    for asked in 1..3 {
        let Opening::Failed(source) = opener.open(&packet) else {
            panic!("it did not fail");
        };
        let error = OpenError::Packet {
            layer: "7".to_owned(),
            scheme: packet.scheme(),
            source,
        };
        let error = not_opened(7, error);
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert_eq!(service.asked.load(Ordering::SeqCst), asked);
    }
}

#[test]
fn answers_that_hold_no_acceptable_options_are_refused() {
    let good = String::from_utf8(options().expose_bytes().to_vec()).unwrap();
    let start = good.find(r#""symkey":""#).unwrap() + 10;
    let mut shorter = good.clone();
    shorter.replace_range(start..start + 44, "AAAA");
    for lie in [
        "",
        "{}",
        "null",
        "[]",
        &shorter,
        &format!("{good} x"),
        &" ".repeat(1 << 20),
    ] {
        let opener = opener(Arc::new(Fake {
            lies: Some(lie.as_bytes().to_vec()),
            ..Fake::named("kms")
        }));
        let opening = opener.open(&packet("provider.kms", &options()));
        assert!(matches!(
            opening,
            Opening::Failed(PacketError::Options { .. })
        ));
    }
}
