//! Software TPMs start, stop, and keep what they are.

use std::fs;
use std::path::Path;

use tpm::lab::{LabError, Manufacturer, SoftwareTpm};
use tpm::{EkKind, EndorsementKey, Tpm, TpmAddress, TpmError};
use tpm_quote::{EkError, ManufacturerRoots, verify_ek_certificate};

use crate::now;

#[test]
#[ignore = "needs swtpm; run by make test"]
fn two_tpms_of_one_manufacturer_chain_to_it_and_to_no_other() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    let one = SoftwareTpm::create(&path("one"), &path("ca"), "node-1").unwrap();
    let two = SoftwareTpm::create(&path("two"), &path("ca"), "node-2").unwrap();
    let other = SoftwareTpm::create(&path("three"), &path("other-ca"), "node-3").unwrap();
    let roots = |software: &SoftwareTpm| {
        ManufacturerRoots::from_pem(&fs::read(software.roots_pem()).unwrap()).unwrap()
    };
    let mut hashes = Vec::new();
    for software in [&one, &two] {
        let running = software.start_on_socket().unwrap();
        let tpm = running.connect().unwrap();
        for kind in [EkKind::Rsa2048, EkKind::P384] {
            let ek = EndorsementKey::make(&tpm, kind).unwrap();
            let certificate = ek.certificate().unwrap().unwrap();
            verify_ek_certificate(&certificate, &[], &roots(software), ek.public(), now()).unwrap();
            let refused =
                verify_ek_certificate(&certificate, &[], &roots(&other), ek.public(), now());
            assert!(matches!(refused, Err(EkError::Untrusted { .. })));
            hashes.push(ek.public().spki_sha256());
        }
        let none = EndorsementKey::make(&tpm, EkKind::P256).unwrap();
        assert!(none.certificate().unwrap().is_none());
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 4);
    // Made again, it is the same TPM.
    let again = SoftwareTpm::create(&path("one"), &path("ca"), "node-1").unwrap();
    let running = again.start_on_free_port().unwrap();
    let ek = EndorsementKey::find(&running.connect().unwrap()).unwrap();
    assert!(hashes.contains(&ek.public().spki_sha256()));
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn a_tpm_that_ended_is_lost_and_not_trusted_again() {
    let home = tempfile::tempdir().unwrap();
    let software =
        SoftwareTpm::create(&home.path().join("tpm"), &home.path().join("ca"), "node-1").unwrap();
    let running = software.start_on_free_port().unwrap();
    let tpm = running.connect().unwrap();
    tpm.random().unwrap();
    drop(running);
    assert!(matches!(tpm.random(), Err(TpmError::Lost { .. })));
    let running = software.start_on_socket().unwrap();
    assert!(matches!(tpm.random(), Err(TpmError::Lost { .. })));
    running.connect().unwrap().random().unwrap();
}

#[test]
fn a_tpm_that_is_not_there_is_unreachable() {
    let nowhere: TpmAddress = "device:/nonexistent/tpm0".parse().unwrap();
    assert!(matches!(
        Tpm::connect(&nowhere),
        Err(TpmError::Unreachable { .. })
    ));
}

#[test]
fn names_that_would_break_a_configuration_file_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let odd = Path::new(home.path()).join("a b");
    assert!(matches!(Manufacturer::at(&odd), Err(LabError::Name { .. })));
    let manufacturer = Manufacturer::at(&home.path().join("ca")).unwrap();
    for name in ["", "a b", "a\nb", "$(id)"] {
        assert!(matches!(
            manufacturer.make(&home.path().join("tpm"), name),
            Err(LabError::Name { .. })
        ));
    }
}
