//! The whole way of a node: certificate, activation, certification, quote, boot.

use std::{fs, thread};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use tpm::lab::{boot_log, boot_pcrs, play};
use tpm::{AttestationKey, EkKind, EndorsementKey, NodeKey};
use tpm_quote::{
    ManufacturerRoots, PcrBank, PublicArea, QuoteExpectation, make_credential, verify_certify,
    verify_ek_certificate, verify_quote,
};

use crate::{Machine, now};

#[test]
#[ignore = "needs swtpm; run by make test"]
fn a_node_proves_its_tpm_its_key_and_its_boot() {
    let machine = Machine::start();
    let tpm = machine.connect();
    let log = boot_log("6.1.0-18-amd64");
    play(&tpm, &log).unwrap();
    let roots =
        ManufacturerRoots::from_pem(&fs::read(machine.software.roots_pem()).unwrap()).unwrap();

    let ek = EndorsementKey::find(&tpm).unwrap();
    assert_eq!(ek.kind(), EkKind::Rsa2048);
    let certificate = ek.certificate().unwrap().unwrap();
    let certified = verify_ek_certificate(&certificate, &[], &roots, ek.public(), now()).unwrap();
    assert_eq!(*certified.spki_sha256(), ek.public().spki_sha256());

    let ak = AttestationKey::make(&tpm).unwrap();
    let credential = make_credential(ek.public(), &ak.name(), &[9; 32]).unwrap();
    assert_eq!(*ek.activate(&ak, &credential).unwrap(), [9; 32]);
    drop(ek);

    let node = NodeKey::make(&tpm).unwrap();
    node.public().require_node_key().unwrap();
    let statement = ak.certify(&node, &[1; 32]).unwrap();
    let node_public = PublicArea::parse_sized(&node.public().to_sized()).unwrap();
    let certified = verify_certify(
        ak.public(),
        &statement.attest,
        &statement.signature,
        &node_public,
        &[1; 32],
    )
    .unwrap();

    for bank in [PcrBank::Sha256, PcrBank::Sha384] {
        let pcrs = boot_pcrs(bank).unwrap();
        let statement = ak.quote(&[2; 32], &pcrs).unwrap();
        let expect = QuoteExpectation {
            qualifying_data: &[2; 32],
            pcrs: &pcrs,
        };
        let quote = verify_quote(
            ak.public(),
            &statement.attest,
            &statement.signature,
            &expect,
        )
        .unwrap();
        assert_eq!(quote.reset_count(), certified.clock().reset_count);
        let boot = quote.prove_log(&log).unwrap();
        assert_eq!(*boot.values(), tpm.pcr_read(&pcrs).unwrap());
    }
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn each_kind_of_endorsement_key_opens_its_credentials() {
    let machine = Machine::start();
    let tpm = machine.connect();
    let ak = AttestationKey::make(&tpm).unwrap();
    for kind in EkKind::ALL {
        let ek = EndorsementKey::make(&tpm, kind).unwrap();
        ek.public().require_ek().unwrap();
        for secret in [&[5_u8; 32][..], &[6; 1]] {
            let credential = make_credential(ek.public(), &ak.name(), secret).unwrap();
            assert_eq!(
                **ek.activate(&ak, &credential).unwrap(),
                *secret,
                "{kind:?}"
            );
        }
    }
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn keys_are_the_same_after_a_reboot_and_the_reboot_shows() {
    let machine = Machine::start();
    let pcrs = boot_pcrs(PcrBank::Sha256).unwrap();
    let count = |ak: &AttestationKey| {
        let statement = ak.quote(&[2; 32], &pcrs).unwrap();
        let expect = QuoteExpectation {
            qualifying_data: &[2; 32],
            pcrs: &pcrs,
        };
        verify_quote(
            ak.public(),
            &statement.attest,
            &statement.signature,
            &expect,
        )
        .unwrap()
        .reset_count()
    };
    let (name, node, state, before) = {
        let tpm = machine.connect();
        let ak = AttestationKey::make(&tpm).unwrap();
        let node = NodeKey::make(&tpm).unwrap();
        (ak.name(), node.public().clone(), node.state(), count(&ak))
    };
    let machine = machine.reboot();
    let tpm = machine.connect();
    let ak = AttestationKey::make(&tpm).unwrap();
    assert_eq!(ak.name(), name);
    assert_eq!(count(&ak), before + 1);
    let restored = NodeKey::restore(&tpm, &state).unwrap();
    assert_eq!(*restored.public(), node);
    assert_ne!(*NodeKey::make(&tpm).unwrap().public(), node);
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn threads_share_one_connection() {
    let machine = Machine::start();
    let tpm = machine.connect();
    let node = NodeKey::make(&tpm).unwrap();
    let ak = AttestationKey::make(&tpm).unwrap();
    let spki = node.public().spki_der();
    // The last 65 bytes of the key's encoding are its point.
    let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki[spki.len() - 65..]);
    thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (node, ak, tpm, verifier) = (&node, &ak, &tpm, &verifier);
            scope.spawn(move || {
                for round in 0..8 {
                    let message = [thread, round];
                    let digest: [u8; 32] = digest(&SHA256, &message).as_ref().try_into().unwrap();
                    verifier
                        .verify(&message, &node.sign(&digest).unwrap())
                        .unwrap();
                    ak.quote(&digest, &boot_pcrs(PcrBank::Sha256).unwrap())
                        .unwrap();
                    let ek = EndorsementKey::make(tpm, EkKind::P256);
                    // Three objects fit into this TPM: another thread may have taken the third place.
                    drop(ek);
                }
            });
        }
    });
    // Nothing was left in the TPM's memory.
    EndorsementKey::make(&tpm, EkKind::P256).unwrap();
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn what_a_killed_agent_left_behind_is_removed() {
    let machine = Machine::start();
    for _ in 0..3 {
        let tpm = machine.connect();
        std::mem::forget(AttestationKey::make(&tpm).unwrap());
        std::mem::forget(NodeKey::make(&tpm).unwrap());
        // Forgotten keys keep a clone of the connection: end it as a killed process would.
        tpm.disconnect();
    }
    let tpm = machine.connect();
    let _keys = (
        AttestationKey::make(&tpm).unwrap(),
        NodeKey::make(&tpm).unwrap(),
        NodeKey::make(&tpm).unwrap(),
    );
}
