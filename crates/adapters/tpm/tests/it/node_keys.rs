//! The agent's port to a TPM, judged by what judges a node: bytes only.

use std::{collections::BTreeMap, fs};

use agent::ports::{Identification, NodeKeys};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use estate::{Digest, Timestamp};
use evidence::{
    AttestBinding, AttestationError, Attestor, Confirmation, Enrolled, Proof, Purpose,
    TpmAttestation, TpmHello, verify_fresh_quote,
};
use hpke_xwing::{PrivateKey, Suite};
use jose::{EcdsaP256Key, Jwk};
use tempfile::TempDir;
use tpm::{
    TpmNodeKeys,
    lab::{Manufacturer, RunningTpm, SoftwareTpm, boot_log, boot_pcrs, play},
};
use tpm_quote::{ManufacturerRoots, PcrBank, PublicArea};

use crate::now;

/// A node that booted, its keys, and what its inventory knows.
struct Node {
    keys: TpmNodeKeys,
    software: SoftwareTpm,
    running: RunningTpm,
    home: TempDir,
}

impl Node {
    fn boot() -> Self {
        let home = tempfile::tempdir().unwrap();
        let manufacturer = Manufacturer::at(&home.path().join("ca")).unwrap();
        let software = manufacturer
            .make(&home.path().join("tpm"), "node-1")
            .unwrap();
        fs::write(home.path().join("boot.log"), boot_log(KERNEL).to_bytes()).unwrap();
        let running = start(&software);
        let keys = open(&running, &home);
        Self {
            keys,
            software,
            running,
            home,
        }
    }

    /// The TPM ends and starts again under the keys' feet.
    fn power_cycle(self) -> Self {
        let Self {
            keys,
            software,
            running,
            home,
        } = self;
        drop(running);
        let running = start(&software);
        Self {
            keys,
            software,
            running,
            home,
        }
    }

    fn enrolled(&self, ek: &PublicArea) -> Enrolled {
        let values = boot_log(KERNEL)
            .replayed_values(&boot_pcrs(PcrBank::Sha256).unwrap())
            .unwrap();
        let state: BTreeMap<u8, [u8; 32]> = values
            .iter()
            .map(|(index, value)| (index, value.try_into().unwrap()))
            .collect();
        Enrolled {
            node: "node-1".parse().unwrap(),
            cluster: None,
            location: None,
            attestor: Attestor::Tpm,
            ek: Some(Digest::from_bytes(ek.spki_sha256())),
            boot: Some(("kernel-6".parse().unwrap(), vec![state])),
        }
    }
}

/// A software TPM after its firmware and loaders ran.
fn start(software: &SoftwareTpm) -> RunningTpm {
    let running = software.start_on_socket().unwrap();
    let tpm = running.connect().unwrap();
    play(&tpm, &boot_log(KERNEL)).unwrap();
    tpm.disconnect();
    running
}

fn open(running: &RunningTpm, home: &TempDir) -> TpmNodeKeys {
    let file = |name| home.path().join(name);
    TpmNodeKeys::open(running.address(), &file("boot.log"), &file("node-key")).unwrap()
}

fn hello(keys: &TpmNodeKeys) -> TpmHello {
    let Identification::Tpm {
        ek_chain,
        ek_public,
        ak_public,
        node_key_public,
    } = keys.identify().unwrap()
    else {
        unreachable!("a TPM identifies by itself")
    };
    let parse = |bytes: &[u8]| PublicArea::parse(bytes).unwrap();
    TpmHello {
        ek_chain,
        ek: parse(&ek_public),
        ak: parse(&ak_public),
        node_key: parse(&node_key_public),
    }
}

fn binding(purpose: Purpose, hello: &TpmHello) -> AttestBinding {
    AttestBinding {
        trust_domain: "example.lab".parse().unwrap(),
        node: "node-1".parse().unwrap(),
        purpose,
        ak_name: hello.ak.name().as_bytes().to_vec(),
        node_key_name: hello.node_key.name().as_bytes().to_vec(),
        statement_key: EcdsaP256Key::generate().unwrap().public_jwk().clone(),
        hpke_key: Confirmation::of(PrivateKey::generate(Suite::XWing).unwrap().public_key()),
        exporter: [5; 32],
    }
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn the_port_attests_a_node_and_quotes_again() {
    let node = Node::boot();
    let first = hello(&node.keys);
    let enrolled = node.enrolled(&first.ek);
    let roots = ManufacturerRoots::from_pem(&fs::read(node.software.roots_pem()).unwrap()).unwrap();
    let at = Timestamp::from_seconds(now().cast_signed());
    let (bound, ak) = (
        binding(Purpose::Enrol, &first),
        first.ak.as_bytes().to_vec(),
    );
    let begun = TpmAttestation::begin(
        first,
        bound.clone(),
        enrolled.clone(),
        Some(&roots),
        at,
        [[1; 32], [2; 32]],
    );
    let (attestation, challenge) = begun.unwrap();
    let qualifying = bound.qualifying_data(&challenge.nonce);
    let proof = Proof {
        activated_secret: node
            .keys
            .activate(&challenge.id_object, &challenge.encrypted_secret)
            .unwrap()
            .to_vec(),
        certify: node.keys.certify(&qualifying).unwrap(),
        quote: node.keys.quote(&qualifying, &challenge.pcrs).unwrap(),
        event_log: node.keys.event_log().unwrap(),
    };
    let verified = attestation.finish(&proof, at).unwrap();
    assert_eq!(verified.facts().boot.as_ref().unwrap().as_str(), "kernel-6");
    assert_eq!(verified.keys().node_key_spki, node.keys.node_key_spki());

    let again = AttestBinding {
        purpose: Purpose::Quote,
        exporter: [6; 32],
        ..bound
    };
    let quote = node
        .keys
        .quote(&again.qualifying_data(&[3; 32]), &challenge.pcrs)
        .unwrap();
    let proof = Proof {
        quote,
        event_log: node.keys.event_log().unwrap(),
        ..Proof::default()
    };
    let judged =
        |binding: &AttestBinding| verify_fresh_quote(&enrolled, binding, &ak, &[3; 32], &proof, at);
    assert_eq!(
        judged(&again).unwrap().reset_count(),
        verified.keys().reset_count
    );
    let elsewhere = AttestBinding {
        exporter: [7; 32],
        ..again
    };
    assert!(matches!(
        judged(&elsewhere),
        Err(AttestationError::Quote(_))
    ));
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn the_node_key_outlives_the_agent_and_a_power_cycle() {
    let node = Node::boot();
    let spki = node.keys.node_key_spki();
    let node = node.power_cycle();
    let signature = node
        .keys
        .sign_digest(Digest::of(b"message").as_bytes())
        .unwrap();
    let jwk = Jwk::from_spki_der(&spki).unwrap();
    let (_, point) = jwk.ec_point().unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(b"message", &signature)
        .unwrap();

    let Node {
        keys,
        running,
        home,
        ..
    } = node;
    drop(keys);
    assert_eq!(open(&running, &home).node_key_spki(), spki);
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn the_node_key_does_not_move_to_another_tpm() {
    let node = Node::boot();
    let manufacturer = Manufacturer::at(&node.home.path().join("ca")).unwrap();
    let other = manufacturer
        .make(&node.home.path().join("other"), "node-2")
        .unwrap();
    let running = start(&other);
    let (log, state) = (
        node.home.path().join("boot.log"),
        node.home.path().join("node-key"),
    );
    assert!(TpmNodeKeys::open(running.address(), &log, &state).is_err());
}

const KERNEL: &str = "6.1.0-18-amd64";
