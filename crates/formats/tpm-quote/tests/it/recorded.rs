//! A real TPM's words are believed.

use tpm_quote::{
    PcrBank, QuoteExpectation, make_credential, verify_certify, verify_ek_certificate, verify_quote,
};

use crate::vectors::{CHALLENGE, NOW, boot_log, bytes, pcrs, public, roots};

#[test]
fn quotes_of_both_banks_prove_the_boot() {
    for (bank, name) in [(PcrBank::Sha256, "sha256"), (PcrBank::Sha384, "sha384")] {
        let selection = pcrs(bank);
        let expect = QuoteExpectation {
            qualifying_data: &CHALLENGE,
            pcrs: &selection,
        };
        let attest = bytes(&format!("quote-{name}.attest"));
        let signature = bytes(&format!("quote-{name}.sig"));
        let quote = verify_quote(&public("ak.pub"), &attest, &signature, &expect).unwrap();
        assert!(quote.clock().milliseconds > 0);
        let boot = quote.prove_log(&boot_log()).unwrap();
        assert_eq!(
            boot.events().len(),
            boot_log().extensions(bank).unwrap().count()
        );
        quote.prove_values(boot.values()).unwrap();
        // The kernel's command line hashes to its digest and is proven; the kernel's path is only a label.
        let lines = boot
            .events()
            .iter()
            .filter(|event| event.pcr() == 8)
            .filter_map(|event| event.data());
        assert!(
            lines
                .clone()
                .any(|line| line.starts_with(b"kernel_cmdline: /boot/vmlinuz-6.1.0-18-amd64 "))
        );
        let labels = boot.events().iter().filter(|event| event.pcr() == 9);
        assert!(labels.clone().count() == 3 && labels.clone().all(|event| event.data().is_none()));
    }
}

#[test]
fn certification_proves_the_node_key() {
    let node = public("node.pub");
    let certified = verify_certify(
        &public("ak.pub"),
        &bytes("certify.attest"),
        &bytes("certify.sig"),
        &node,
        &CHALLENGE,
    )
    .unwrap();
    assert_eq!(*certified.subject(), node.name());
    node.require_node_key().unwrap();
}

#[test]
fn endorsement_keys_chain_to_their_manufacturer() {
    for name in ["rsa2048", "p384"] {
        let ek = public(&format!("ek-{name}.pub"));
        let certificate = bytes(&format!("ek-{name}.crt"));
        let certified = verify_ek_certificate(&certificate, &[], &roots(), &ek, NOW).unwrap();
        assert_eq!(*certified.spki_sha256(), ek.spki_sha256());
        assert_eq!(certified.model().manufacturer, "id:00001014");
        assert_eq!(certified.model().model, "swtpm");
        assert!(roots().fingerprints().any(|root| root == *certified.root()));
    }
}

#[test]
fn public_areas_play_the_roles_they_were_made_for_and_no_other() {
    let (ak, node, ek) = (
        public("ak.pub"),
        public("node.pub"),
        public("ek-rsa2048.pub"),
    );
    ak.require_ak().unwrap();
    node.require_node_key().unwrap();
    for name in ["ek-rsa2048.pub", "ek-p256.pub", "ek-p384.pub"] {
        public(name).require_ek().unwrap();
    }
    assert!(ak.require_node_key().is_err() && ak.require_ek().is_err());
    assert!(node.require_ak().is_err() && node.require_ek().is_err());
    assert!(ek.require_ak().is_err() && ek.require_node_key().is_err());
}

#[test]
fn credentials_have_the_shapes_that_tpms_read() {
    let name = public("ak.pub").name();
    for (ek, hash, seed) in [
        ("rsa2048", 32, 256),
        ("p256", 32, 2 + 32 + 2 + 32),
        ("p384", 48, 2 + 48 + 2 + 48),
    ] {
        let ek = public(&format!("ek-{ek}.pub"));
        let credential = make_credential(&ek, &name, &[1; 32]).unwrap();
        assert_eq!(credential.encrypted_secret.len(), 2 + seed);
        assert_eq!(credential.id_object.len(), 2 + 2 + hash + 2 + 32);
        assert_ne!(credential, make_credential(&ek, &name, &[1; 32]).unwrap());
        assert!(make_credential(&ek, &name, &[]).is_err());
        assert!(make_credential(&ek, &name, &vec![1; hash + 1]).is_err());
    }
    assert!(make_credential(&public("ak.pub"), &name, &[1; 32]).is_err());
}

#[test]
fn public_areas_and_selections_are_written_as_they_were_read() {
    for name in [
        "ak.pub",
        "node.pub",
        "ek-rsa2048.pub",
        "ek-p256.pub",
        "ek-p384.pub",
    ] {
        assert_eq!(public(name).to_sized(), bytes(name));
    }
    assert_eq!(boot_log().to_bytes(), bytes("boot.log"));
    for text in ["sha256:0", "sha384:0,7,23"] {
        assert_eq!(
            text.parse::<tpm_quote::PcrSelection>().unwrap().to_string(),
            text
        );
    }
}
