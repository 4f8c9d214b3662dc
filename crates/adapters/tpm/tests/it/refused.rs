//! Attacks with a real TPM at hand.

use tpm::lab::{boot_log, boot_pcrs, play};
use tpm::{AttestationKey, EkKind, EndorsementKey, NodeKey, TpmError};
use tpm_quote::{
    BootError, PcrBank, PcrError, PcrSelection, PublicArea, QuoteError, QuoteExpectation,
    make_credential, verify_certify, verify_quote,
};

use crate::Machine;

#[test]
#[ignore = "needs swtpm; run by make test"]
fn a_replayed_quote_and_a_quote_over_other_registers() {
    let machine = Machine::start();
    let tpm = machine.connect();
    play(&tpm, &boot_log("6.1.0-18-amd64")).unwrap();
    let ak = AttestationKey::make(&tpm).unwrap();
    let pcrs = boot_pcrs(PcrBank::Sha256).unwrap();
    let old = ak.quote(&[1; 32], &pcrs).unwrap();
    let verify = |challenge: &[u8; 32], pcrs: &PcrSelection| {
        let expect = QuoteExpectation {
            qualifying_data: challenge,
            pcrs,
        };
        verify_quote(ak.public(), &old.attest, &old.signature, &expect)
    };
    verify(&[1; 32], &pcrs).unwrap();
    assert_eq!(verify(&[2; 32], &pcrs), Err(QuoteError::OtherChallenge));
    for other in [
        "sha256:0",
        "sha256:0,1,2,3,4,5,6,7,8,9,10,14",
        "sha384:0,1,2,3,4,5,6,7,8,9,14",
    ] {
        let refused = verify(&[1; 32], &other.parse().unwrap());
        assert!(
            matches!(refused, Err(QuoteError::OtherSelection { .. })),
            "{other}"
        );
    }
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn the_keys_of_another_tpm() {
    let (machine, other) = (Machine::start(), Machine::start());
    let (tpm, other) = (machine.connect(), other.connect());
    let ak = AttestationKey::make(&tpm).unwrap();
    let foreign = AttestationKey::make(&other).unwrap();
    assert_ne!(ak.name(), foreign.name());
    // A quote by the key of another TPM.
    let pcrs = boot_pcrs(PcrBank::Sha256).unwrap();
    let statement = foreign.quote(&[1; 32], &pcrs).unwrap();
    let expect = QuoteExpectation {
        qualifying_data: &[1; 32],
        pcrs: &pcrs,
    };
    let refused = verify_quote(
        ak.public(),
        &statement.attest,
        &statement.signature,
        &expect,
    );
    assert_eq!(refused, Err(QuoteError::BadSignature));
    // A credential for one TPM opens in no other, and for one key beside no other.
    let ek = EndorsementKey::make(&tpm, EkKind::Rsa2048).unwrap();
    let foreign_ek = EndorsementKey::make(&other, EkKind::Rsa2048).unwrap();
    let credential = make_credential(ek.public(), &ak.name(), &[3; 32]).unwrap();
    assert!(matches!(
        foreign_ek.activate(&foreign, &credential),
        Err(TpmError::Refused { .. })
    ));
    let for_foreign_name = make_credential(ek.public(), &foreign.name(), &[3; 32]).unwrap();
    assert!(matches!(
        ek.activate(&ak, &for_foreign_name),
        Err(TpmError::Refused { .. })
    ));
    assert_eq!(*ek.activate(&ak, &credential).unwrap(), [3; 32]);
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn a_node_key_that_is_not_in_this_tpm() {
    let (machine, other) = (Machine::start(), Machine::start());
    let (tpm, other) = (machine.connect(), other.connect());
    let ak = AttestationKey::make(&tpm).unwrap();
    let (node, foreign) = (NodeKey::make(&tpm).unwrap(), NodeKey::make(&other).unwrap());
    let statement = ak.certify(&node, &[1; 32]).unwrap();
    let refused = verify_certify(
        ak.public(),
        &statement.attest,
        &statement.signature,
        foreign.public(),
        &[1; 32],
    );
    assert!(matches!(refused, Err(QuoteError::OtherSubject { .. })));
    // State that was copied to another machine makes no key there.
    assert!(matches!(
        NodeKey::restore(&other, &node.state()),
        Err(TpmError::OtherTpm)
    ));
    for state in [&node.state()[1..], &node.state()[..40], b""] {
        assert!(matches!(
            NodeKey::restore(&tpm, state),
            Err(TpmError::State)
        ));
    }
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn a_node_key_in_place_of_the_attestation_key_can_sign_a_feigned_quote_but_is_refused() {
    let machine = Machine::start();
    let tpm = machine.connect();
    let node = NodeKey::make(&tpm).unwrap();
    let ak = AttestationKey::make(&tpm).unwrap();
    let pcrs = boot_pcrs(PcrBank::Sha256).unwrap();
    let statement = ak.quote(&[1; 32], &pcrs).unwrap();
    let expect = QuoteExpectation {
        qualifying_data: &[1; 32],
        pcrs: &pcrs,
    };
    let refused = verify_quote(
        node.public(),
        &statement.attest,
        &statement.signature,
        &expect,
    );
    assert!(matches!(refused, Err(QuoteError::UnfitKey { .. })));
    // And the attestation key, being restricted, does not sign a digest that somebody brings.
    assert!(
        PublicArea::parse_sized(&ak.public().to_sized())
            .unwrap()
            .require_node_key()
            .is_err()
    );
}

#[test]
#[ignore = "needs swtpm; run by make test"]
fn a_fresh_tpm_and_another_boot_do_not_pass() {
    let machine = Machine::start();
    let tpm = machine.connect();
    let ak = AttestationKey::make(&tpm).unwrap();
    let pcrs = boot_pcrs(PcrBank::Sha256).unwrap();
    let log = boot_log("6.1.0-18-amd64");
    let prove = |log| {
        let statement = ak.quote(&[1; 32], &pcrs).unwrap();
        let expect = QuoteExpectation {
            qualifying_data: &[1; 32],
            pcrs: &pcrs,
        };
        let quote = verify_quote(
            ak.public(),
            &statement.attest,
            &statement.signature,
            &expect,
        )
        .unwrap();
        quote.prove_log(log)
    };
    let nothing = tpm_quote::EventLog::new(&[PcrBank::Sha256]);
    assert_eq!(
        prove(&nothing),
        Err(BootError::Pcr {
            source: PcrError::NeverMeasured { index: 0 }
        })
    );
    play(&tpm, &boot_log("6.1.0-17-amd64")).unwrap();
    assert!(matches!(
        prove(&log),
        Err(BootError::Pcr {
            source: PcrError::Mismatch { .. }
        })
    ));
    prove(&boot_log("6.1.0-17-amd64")).unwrap();
}
