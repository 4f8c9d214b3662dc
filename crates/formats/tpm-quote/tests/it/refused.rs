//! What is refused, each for its own reason.

use tpm_quote::{
    Attributes, BootError, EventLog, EventLogError, ParseError, PcrBank, PcrError, PcrSelection,
    PcrSlot, PcrValues, PublicArea, Quote, QuoteError, QuoteExpectation, UnfitKey, event_type,
    template, verify_certify, verify_quote,
};

use crate::forger::{Forger, Statement, sized};
use crate::vectors::{CHALLENGE, boot_log, bytes, pcrs, public};

fn recorded_quote(
    ak: &PublicArea,
    challenge: &[u8; 32],
    pcrs: &PcrSelection,
) -> Result<Quote, QuoteError> {
    let expect = QuoteExpectation {
        qualifying_data: challenge,
        pcrs,
    };
    verify_quote(
        ak,
        &bytes("quote-sha256.attest"),
        &bytes("quote-sha256.sig"),
        &expect,
    )
}

#[test]
fn a_replayed_quote() {
    let refused = recorded_quote(&public("ak.pub"), &[8; 32], &pcrs(PcrBank::Sha256));
    assert_eq!(refused, Err(QuoteError::OtherChallenge));
}

#[test]
fn a_quote_over_other_registers() {
    let all = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];
    for other in [&all[..10], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 23], &[1]] {
        let selection = PcrSelection::new(PcrBank::Sha256, other.iter().copied()).unwrap();
        let refused = recorded_quote(&public("ak.pub"), &CHALLENGE, &selection);
        assert!(
            matches!(refused, Err(QuoteError::OtherSelection { .. })),
            "{selection}"
        );
    }
    let refused = recorded_quote(&public("ak.pub"), &CHALLENGE, &pcrs(PcrBank::Sha384));
    assert!(matches!(refused, Err(QuoteError::OtherSelection { .. })));
}

#[test]
fn the_attestation_key_of_another_tpm() {
    let refused = recorded_quote(&public("other-ak.pub"), &CHALLENGE, &pcrs(PcrBank::Sha256));
    assert_eq!(refused, Err(QuoteError::BadSignature));
}

#[test]
fn a_quote_signed_by_a_key_that_signs_anything() {
    let refused = recorded_quote(&public("node.pub"), &CHALLENGE, &pcrs(PcrBank::Sha256));
    assert!(matches!(
        refused,
        Err(QuoteError::UnfitKey {
            source: UnfitKey::Lacks { .. }
        })
    ));
}

#[test]
fn a_node_key_that_is_not_the_certified_one() {
    let verify = |subject: &PublicArea, challenge: &[u8; 32]| {
        verify_certify(
            &public("ak.pub"),
            &bytes("certify.attest"),
            &bytes("certify.sig"),
            subject,
            challenge,
        )
    };
    let file_key = Forger::new();
    let file_key = PublicArea::parse(&file_key.area(template::node_key(&[0; 32]))).unwrap();
    file_key.require_node_key().unwrap();
    for subject in [file_key, public("other-node.pub"), public("ak.pub")] {
        assert!(matches!(
            verify(&subject, &CHALLENGE),
            Err(QuoteError::OtherSubject { .. })
        ));
    }
    assert_eq!(
        verify(&public("node.pub"), &[8; 32]),
        Err(QuoteError::OtherChallenge)
    );
}

#[test]
fn a_quote_in_place_of_a_certification_and_the_reverse() {
    let ak = public("ak.pub");
    let refused = verify_certify(
        &ak,
        &bytes("quote-sha256.attest"),
        &bytes("quote-sha256.sig"),
        &public("node.pub"),
        &CHALLENGE,
    );
    assert_eq!(refused, Err(QuoteError::OtherType { found: 0x8018 }));
    let selection = pcrs(PcrBank::Sha256);
    let expect = QuoteExpectation {
        qualifying_data: &CHALLENGE,
        pcrs: &selection,
    };
    let refused = verify_quote(
        &ak,
        &bytes("certify.attest"),
        &bytes("certify.sig"),
        &expect,
    );
    assert_eq!(refused, Err(QuoteError::OtherType { found: 0x8017 }));
}

/// The verdict about what the forger says with a good signature.
fn forged(change: impl FnOnce(&mut Statement)) -> Result<Quote, QuoteError> {
    let forger = Forger::new();
    let selection = PcrSelection::new(PcrBank::Sha256, [0, 7]).unwrap();
    let mut statement = forger.quote(&selection.to_bytes(), &[1; 32]);
    change(&mut statement);
    let attest = statement.to_bytes();
    let expect = QuoteExpectation {
        qualifying_data: &CHALLENGE,
        pcrs: &selection,
    };
    verify_quote(&forger.ak, &attest, &forger.sign(&attest), &expect)
}

#[test]
fn each_altered_field_under_a_good_signature() {
    forged(|_| {}).unwrap();
    assert_eq!(
        forged(|it| it.magic = *b"\xffTCH"),
        Err(QuoteError::NotFromTpm)
    );
    assert_eq!(
        forged(|it| it.signer = vec![0, 0x0b]),
        Err(QuoteError::OtherHierarchy)
    );
    assert_eq!(
        forged(|it| it.extra = CHALLENGE[..31].to_vec()),
        Err(QuoteError::OtherChallenge)
    );
    assert_eq!(
        forged(|it| it.extra.push(7)),
        Err(QuoteError::OtherChallenge)
    );
    assert_eq!(
        forged(|it| it.extra.clear()),
        Err(QuoteError::OtherChallenge)
    );
    for change in [
        (|it| it.safe = 2) as fn(&mut Statement),
        |it| it.kind = 0x8014,
        |it| it.tail = vec![0],
        |it| it.body.truncate(it.body.len() - 1),
        |it| {
            it.body = [
                PcrSelection::new(PcrBank::Sha256, [0, 7])
                    .unwrap()
                    .to_bytes(),
                sized(&[1; 20]),
            ]
            .concat()
        },
    ] {
        assert!(matches!(forged(change), Err(QuoteError::Malformed { .. })));
    }
}

#[test]
fn the_sha1_bank_two_banks_and_odd_selections() {
    let sha1 = [0, 0, 0, 1, 0, 4, 3, 0x81, 0, 0];
    let two = [0, 0, 0, 2, 0, 0x0b, 3, 0x81, 0, 0, 0, 4, 3, 0x81, 0, 0];
    let none = [0, 0, 0, 0];
    let wide = [0, 0, 0, 1, 0, 0x0b, 4, 0x81, 0, 0, 0];
    let empty = [0, 0, 0, 1, 0, 0x0b, 3, 0, 0, 0];
    for selection in [&sha1[..], &two, &none, &wide, &empty] {
        let body = [selection, &sized(&[1; 32])].concat();
        assert!(
            matches!(
                forged(|it| it.body = body),
                Err(QuoteError::Malformed { .. })
            ),
            "{selection:?}"
        );
    }
    assert!(matches!(
        "sha1:0".parse::<PcrSelection>(),
        Err(PcrError::Bank { .. })
    ));
    for text in [
        "",
        "sha256",
        "sha256:",
        "sha256:24",
        "sha256:0,0",
        "sha256:+1",
        "sha256:01",
        "sha256:0,",
    ] {
        assert!(text.parse::<PcrSelection>().is_err(), "{text}");
    }
}

#[test]
fn signatures_of_another_scheme_or_with_padding() {
    let forger = Forger::new();
    let selection = PcrSelection::new(PcrBank::Sha256, [0]).unwrap();
    let attest = forger.quote(&selection.to_bytes(), &[1; 32]).to_bytes();
    let good = forger.sign(&attest);
    let expect = QuoteExpectation {
        qualifying_data: &CHALLENGE,
        pcrs: &selection,
    };
    let verify = |signature: &[u8]| verify_quote(&forger.ak, &attest, signature, &expect);
    verify(&good).unwrap();
    let mut sha1 = good.clone();
    sha1[3] = 4;
    let mut rsa = vec![0, 0x14, 0, 0x0b];
    rsa.extend(sized(&[1; 256]));
    for signature in [
        &sha1,
        &rsa,
        &good[..good.len() - 1].to_vec(),
        &[good.as_slice(), &[0]].concat(),
        &vec![],
    ] {
        assert!(verify(signature).is_err());
    }
}

#[test]
fn keys_that_a_tpm_does_not_hold_fast() {
    let forger = Forger::new();
    for missing in [
        Attributes::FIXED_TPM,
        Attributes::FIXED_PARENT,
        Attributes::SENSITIVE_DATA_ORIGIN,
        Attributes::SIGN,
    ] {
        for (template, is_ak) in [
            (template::attestation_key(&[0; 32]), true),
            (template::node_key(&[0; 32]), false),
        ] {
            let area = with_attributes(forger.area(template), |bits| bits & !missing.bits());
            let refused = if is_ak {
                area.require_ak()
            } else {
                area.require_node_key()
            };
            assert!(
                matches!(refused, Err(UnfitKey::Lacks { missing: found, .. }) if found == missing),
                "{missing}"
            );
        }
    }
    for surplus in [Attributes::DECRYPT, Attributes::X509_SIGN] {
        let area = with_attributes(forger.area(template::attestation_key(&[0; 32])), |bits| {
            bits | surplus.bits()
        });
        assert!(matches!(area.require_ak(), Err(UnfitKey::Surplus { .. })));
        let area = with_attributes(forger.area(template::node_key(&[0; 32])), |bits| {
            bits | surplus.bits()
        });
        assert!(matches!(
            area.require_node_key(),
            Err(UnfitKey::Surplus { .. })
        ));
    }
    let area = with_attributes(forger.area(template::node_key(&[0; 32])), |bits| {
        bits | Attributes::RESTRICTED.bits()
    });
    assert!(matches!(
        area.require_node_key(),
        Err(UnfitKey::Surplus { .. })
    ));
    let mut reserved = forger.area(template::node_key(&[0; 32]));
    reserved[7] |= 1;
    assert!(matches!(
        PublicArea::parse(&reserved),
        Err(ParseError::Unsupported { .. })
    ));
}

fn with_attributes(mut area: Vec<u8>, change: impl FnOnce(u32) -> u32) -> PublicArea {
    let bits = u32::from_be_bytes(area[4..8].try_into().unwrap());
    area[4..8].copy_from_slice(&change(bits).to_be_bytes());
    PublicArea::parse(&area).unwrap()
}

#[test]
fn endorsement_keys_with_another_policy_or_without() {
    let mut area = template::ek_p256();
    area[10] ^= 1;
    assert!(matches!(
        PublicArea::parse(&area).unwrap().require_ek(),
        Err(UnfitKey::Policy { .. })
    ));
    let plain = with_attributes(template::ek_p256(), |bits| {
        bits & !Attributes::ADMIN_WITH_POLICY.bits()
    });
    assert!(matches!(plain.require_ek(), Err(UnfitKey::Lacks { .. })));
}

#[test]
fn registers_that_nothing_was_measured_into() {
    for value in [[0; 32], [0xff; 32]] {
        let values =
            PcrValues::new(PcrBank::Sha256, [(0, vec![1; 32]), (7, value.to_vec())]).unwrap();
        let digest = values.digest(tpm_quote::HashAlgorithm::Sha256);
        let quote = forged(|it| {
            let selection = PcrSelection::new(PcrBank::Sha256, [0, 7])
                .unwrap()
                .to_bytes();
            it.body = [selection, sized(&digest)].concat();
        })
        .unwrap();
        assert_eq!(
            quote.prove_values(&values),
            Err(PcrError::NeverMeasured { index: 7 })
        );
    }
    // The profile of nothing: an empty log explains a fresh TPM, and proves no boot.
    let nothing = EventLog::new(&[PcrBank::Sha256]);
    let zeros = PcrValues::new(PcrBank::Sha256, [(0, vec![0; 32]), (7, vec![0; 32])]).unwrap();
    let quote = forged(|it| {
        let selection = PcrSelection::new(PcrBank::Sha256, [0, 7])
            .unwrap()
            .to_bytes();
        it.body = [
            selection,
            sized(&zeros.digest(tpm_quote::HashAlgorithm::Sha256)),
        ]
        .concat();
    })
    .unwrap();
    assert_eq!(
        quote.prove_log(&nothing),
        Err(BootError::Pcr {
            source: PcrError::NeverMeasured { index: 0 }
        })
    );
}

#[test]
fn logs_of_another_boot() {
    let quote = recorded_quote(&public("ak.pub"), &CHALLENGE, &pcrs(PcrBank::Sha256)).unwrap();
    let mut longer = boot_log();
    longer.measure(PcrSlot::new(9).unwrap(), event_type::IPL, b"one event more");
    let refused = quote.prove_log(&longer);
    assert!(matches!(
        refused,
        Err(BootError::Pcr {
            source: PcrError::Mismatch { .. }
        })
    ));
    // Events of registers that were not quoted are no part of what is proven.
    let mut elsewhere = boot_log();
    elsewhere.measure(PcrSlot::new(10).unwrap(), event_type::IPL, b"not quoted");
    let boot = quote.prove_log(&elsewhere).unwrap();
    assert!(boot.events().iter().all(|event| event.pcr() != 10));
}

#[test]
fn values_of_other_registers() {
    let quote = recorded_quote(&public("ak.pub"), &CHALLENGE, &pcrs(PcrBank::Sha256)).unwrap();
    let boot = quote.prove_log(&boot_log()).unwrap();
    let fewer = PcrValues::new(
        PcrBank::Sha256,
        boot.values().iter().take(3).map(|(i, v)| (i, v.to_vec())),
    )
    .unwrap();
    assert!(matches!(
        quote.prove_values(&fewer),
        Err(PcrError::OtherSelection { .. })
    ));
}

#[test]
fn events_relabelled_to_hide_or_to_feign() {
    let quote = recorded_quote(&public("ak.pub"), &CHALLENGE, &pcrs(PcrBank::Sha256)).unwrap();
    let log = bytes("boot.log");
    let honest = quote.prove_log(&boot_log()).unwrap();
    // A measured event relabelled as "no action" is not extended, so the replay misses.
    let first = 4 + 4 + 20 + 4 + usize::from(log[28]);
    let mut hidden = log.clone();
    hidden[first + 4..first + 8].copy_from_slice(&event_type::NO_ACTION.to_le_bytes());
    assert!(quote.prove_log(&EventLog::parse(&hidden).unwrap()).is_err());
    // Relabelled as anything else, nothing changes in what is proven.
    let mut relabelled = log.clone();
    relabelled[first + 4..first + 8].copy_from_slice(&event_type::SEPARATOR.to_le_bytes());
    assert_eq!(
        quote
            .prove_log(&EventLog::parse(&relabelled).unwrap())
            .unwrap(),
        honest
    );
    // Data that are not in the digest never appear, and changed data disappear.
    let name: Vec<u8> = "SecureBoot"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let position = log
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    let mut feigned = log.clone();
    feigned[position + name.len()] = 0;
    let boot = quote
        .prove_log(&EventLog::parse(&feigned).unwrap())
        .unwrap();
    let secure_boot = |boot: &tpm_quote::MeasuredBoot| {
        let data = boot.events().iter().filter_map(|event| event.data());
        data.filter_map(|data| {
            data.windows(name.len())
                .position(|it| it == name)
                .map(|at| data[at + name.len()])
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(secure_boot(&honest), [1]);
    assert!(secure_boot(&boot).is_empty());
}

#[test]
fn start_up_localities_told_late_twice_or_wrongly() {
    let pcr0 = PcrSelection::new(PcrBank::Sha256, [0]).unwrap();
    let slot = |index| PcrSlot::new(index).unwrap();
    let tell = |log: &mut EventLog, pcr, locality: u8| {
        log.measure(
            slot(pcr),
            event_type::NO_ACTION,
            &[b"StartupLocality\0".as_slice(), &[locality]].concat(),
        );
    };
    let mut plain = EventLog::new(&[PcrBank::Sha256]);
    plain.measure(slot(0), event_type::ACTION, b"x");
    let mut three = EventLog::new(&[PcrBank::Sha256]);
    tell(&mut three, 0, 3);
    three.measure(slot(0), event_type::ACTION, b"x");
    let value = |log: &EventLog| log.replayed_values(&pcr0);
    assert_ne!(value(&plain).unwrap(), value(&three).unwrap());
    let mut late = plain.clone();
    tell(&mut late, 0, 3);
    let mut twice = three.clone();
    tell(&mut twice, 0, 3);
    let (mut wrong, mut elsewhere) = (
        EventLog::new(&[PcrBank::Sha256]),
        EventLog::new(&[PcrBank::Sha256]),
    );
    tell(&mut wrong, 0, 9);
    tell(&mut elsewhere, 1, 3);
    for log in [late, twice, wrong, elsewhere] {
        assert!(matches!(value(&log), Err(EventLogError::Locality { .. })));
    }
    assert!(matches!(
        plain.replayed_values(&PcrSelection::new(PcrBank::Sha384, [0]).unwrap()),
        Err(EventLogError::NoSuchBank { .. })
    ));
}
