//! Hostile bytes: no parser panics, and no altered bit passes.

use proptest::prelude::*;
use tpm_quote::{
    EventLog, ManufacturerRoots, Name, PcrBank, PublicArea, QuoteExpectation, make_credential,
    verify_certify, verify_ek_certificate, verify_quote,
};

use crate::vectors::{CHALLENGE, NOW, boot_log, bytes, pcrs, public, roots};

/// `good` with one bit flipped, cut short, or grown.
fn mutated(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let size = good.len();
    let (flip, cut, grow) = (good.clone(), good.clone(), good);
    prop_oneof![
        6 => (0..size, 0..8_u8).prop_map(move |(at, bit)| {
            let mut bytes = flip.clone();
            bytes[at] ^= 1 << bit;
            bytes
        }),
        2 => (0..size).prop_map(move |at| cut[..at].to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(move |tail| [grow.clone(), tail].concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes_are_never_accepted(junk in prop::collection::vec(any::<u8>(), 0..700)) {
        let selection = pcrs(PcrBank::Sha256);
        let expect = QuoteExpectation { qualifying_data: &CHALLENGE, pcrs: &selection };
        let ak = public("ak.pub");
        prop_assert!(PublicArea::parse(&junk).is_err());
        prop_assert!(PublicArea::parse_sized(&junk).is_err());
        prop_assert!(EventLog::parse(&junk).is_err());
        prop_assert!(ManufacturerRoots::from_der([junk.as_slice()]).is_err());
        prop_assert!(ManufacturerRoots::from_pem(&junk).is_err());
        prop_assert!(verify_quote(&ak, &junk, &bytes("quote-sha256.sig"), &expect).is_err());
        prop_assert!(verify_quote(&ak, &bytes("quote-sha256.attest"), &junk, &expect).is_err());
        prop_assert!(verify_ek_certificate(&junk, &[], &roots(), &public("ek-rsa2048.pub"), NOW).is_err());
        let _ = Name::parse(&junk);
    }

    #[test]
    fn an_altered_quote_is_refused(attest in mutated(bytes("quote-sha256.attest"))) {
        let selection = pcrs(PcrBank::Sha256);
        let expect = QuoteExpectation { qualifying_data: &CHALLENGE, pcrs: &selection };
        prop_assert!(verify_quote(&public("ak.pub"), &attest, &bytes("quote-sha256.sig"), &expect).is_err());
    }

    #[test]
    fn an_altered_signature_is_refused(signature in mutated(bytes("quote-sha256.sig"))) {
        let selection = pcrs(PcrBank::Sha256);
        let expect = QuoteExpectation { qualifying_data: &CHALLENGE, pcrs: &selection };
        prop_assert!(verify_quote(&public("ak.pub"), &bytes("quote-sha256.attest"), &signature, &expect).is_err());
    }

    #[test]
    fn an_altered_attestation_key_is_refused(ak in mutated(bytes("ak.pub"))) {
        let selection = pcrs(PcrBank::Sha256);
        let expect = QuoteExpectation { qualifying_data: &CHALLENGE, pcrs: &selection };
        // Every bit of the public area is in its name, and the name is in the statement.
        if let Ok(ak) = PublicArea::parse_sized(&ak) {
            let (attest, signature) = (bytes("quote-sha256.attest"), bytes("quote-sha256.sig"));
            prop_assert!(verify_quote(&ak, &attest, &signature, &expect).is_err());
        }
    }

    #[test]
    fn an_altered_node_key_is_refused(node in mutated(bytes("node.pub"))) {
        if let Ok(node) = PublicArea::parse_sized(&node) {
            let (attest, signature) = (bytes("certify.attest"), bytes("certify.sig"));
            prop_assert!(verify_certify(&public("ak.pub"), &attest, &signature, &node, &CHALLENGE).is_err());
        }
    }

    #[test]
    fn an_altered_certificate_is_refused(certificate in mutated(bytes("ek-rsa2048.crt"))) {
        prop_assert!(verify_ek_certificate(&certificate, &[], &roots(), &public("ek-rsa2048.pub"), NOW).is_err());
    }

    #[test]
    fn an_altered_endorsement_key_is_refused_or_still_the_certified_one(ek in mutated(bytes("ek-p384.pub"))) {
        if let Ok(ek) = PublicArea::parse_sized(&ek) {
            // A certificate sees the key, not the attributes that the templates leave open.
            if verify_ek_certificate(&bytes("ek-p384.crt"), &[], &roots(), &ek, NOW).is_ok() {
                prop_assert_eq!(ek.spki_sha256(), public("ek-p384.pub").spki_sha256());
            }
            let _ = make_credential(&ek, &public("ak.pub").name(), &[1; 32]);
        }
    }

    #[test]
    fn an_altered_log_proves_the_same_measurements_or_nothing(log in mutated(bytes("boot.log"))) {
        let selection = pcrs(PcrBank::Sha256);
        let expect = QuoteExpectation { qualifying_data: &CHALLENGE, pcrs: &selection };
        let (attest, signature) = (bytes("quote-sha256.attest"), bytes("quote-sha256.sig"));
        let quote = verify_quote(&public("ak.pub"), &attest, &signature, &expect).unwrap();
        let honest = quote.prove_log(&boot_log()).unwrap();
        if let Ok(boot) = EventLog::parse(&log).map_err(drop).and_then(|log| quote.prove_log(&log).map_err(drop)) {
            let measured = |boot: &tpm_quote::MeasuredBoot| {
                boot.events().iter().map(|event| (event.pcr(), event.digest().to_vec())).collect::<Vec<_>>()
            };
            prop_assert_eq!(measured(&boot), measured(&honest));
            for (event, original) in boot.events().iter().zip(honest.events()) {
                prop_assert!(event.data().is_none() || event.data() == original.data());
            }
        }
    }

    #[test]
    fn selections_never_panic(text in "(sha(1|256|384):)?[0-9,+ ]{0,30}|.{0,40}") {
        if let Ok(selection) = text.parse::<tpm_quote::PcrSelection>() {
            prop_assert_eq!(selection.to_string().parse::<tpm_quote::PcrSelection>().unwrap(), selection);
        }
    }

    #[test]
    fn altered_lists_of_manufacturers_never_panic(pem in mutated(bytes("manufacturer.pem"))) {
        if let Ok(roots) = ManufacturerRoots::from_pem(&pem) {
            prop_assert!(roots.fingerprints().count() > 0);
        }
    }

    #[test]
    fn logs_are_read_as_they_were_written(
        events in prop::collection::vec((0..24_u8, any::<u32>(), prop::collection::vec(any::<u8>(), 0..60)), 0..20)
    ) {
        let mut log = EventLog::new(&[PcrBank::Sha384, PcrBank::Sha256]);
        for (pcr, kind, data) in &events {
            log.measure(tpm_quote::PcrSlot::new(*pcr).unwrap(), *kind, data);
        }
        prop_assert_eq!(EventLog::parse(&log.to_bytes()).unwrap(), log);
    }
}
