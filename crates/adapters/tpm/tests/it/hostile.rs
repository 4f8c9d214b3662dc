//! Devices that answer what no TPM answers: nothing panics, hangs or is believed; and devices that are only busy.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

use proptest::prelude::*;
use tempfile::TempDir;
use tpm::lab::boot_pcrs;
use tpm::{AttestationKey, EkKind, EndorsementKey, NodeKey, Tpm, TpmAddress, TpmError};
use tpm_quote::PcrBank;

/// A device that gives these answers, one to each command, and then hangs up.
fn device(answers: Vec<Vec<u8>>) -> (TempDir, TpmAddress, JoinHandle<()>) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("tpm.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut command = [0; 4096];
        for answer in answers {
            // The client may have hung up already: it does not like what it heard.
            if !matches!(stream.read(&mut command), Ok(1..)) || stream.write_all(&answer).is_err() {
                return;
            }
        }
    });
    (home, TpmAddress::Unix(path), thread)
}

/// A header in front of `body`: its size is right, its code may be what it will.
fn answer(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(10 + body.len()).unwrap();
    [
        &tag.to_be_bytes(),
        size.to_be_bytes().as_slice(),
        &code.to_be_bytes(),
        body,
    ]
    .concat()
}

/// No handles are loaded: what a fresh device answers to the two questions at connecting.
fn nothing_loaded() -> Vec<Vec<u8>> {
    vec![answer(0x8001, 0, &[0, 0, 0, 0, 1, 0, 0, 0, 0]); 2]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn answers_of_no_tpm_are_refused(
        which in 0..6_u8,
        tagged in any::<bool>(),
        body in prop::collection::vec(any::<u8>(), 0..300),
        header in any::<bool>(),
    ) {
        let tag = if tagged { 0x8002 } else { 0x8001 };
        let mut answers = nothing_loaded();
        answers.push(if header { answer(tag, 0, &body) } else { body });
        let (_home, address, thread) = device(answers);
        let tpm = Tpm::connect(&address).unwrap();
        let failed = match which {
            0 => tpm.pcr_read(&boot_pcrs(PcrBank::Sha256).unwrap()).is_err(),
            1 => EndorsementKey::make(&tpm, EkKind::Rsa2048).is_err(),
            2 => AttestationKey::make(&tpm).is_err(),
            3 => NodeKey::make(&tpm).is_err(),
            4 => EndorsementKey::find(&tpm).is_err(),
            // Random bytes may be random bytes.
            _ => { let _ = tpm.random(); true }
        };
        prop_assert!(failed);
        drop(tpm);
        thread.join().unwrap();
    }

    #[test]
    fn addresses_never_panic(text in "(device|swtpm|tcp)?:?(host=|path=)?.{0,40}") {
        if let Ok(address) = text.parse::<TpmAddress>() {
            prop_assert_eq!(address.to_string().parse::<TpmAddress>().unwrap(), address);
        }
    }
}

#[test]
fn a_busy_device_is_asked_again() {
    let mut answers = nothing_loaded();
    for warning in [0x922, 0x908, 0x90a, 0x920] {
        answers.push(answer(0x8001, warning, &[]));
    }
    answers.push(answer(0x8001, 0, &[&[0, 32], [5; 32].as_slice()].concat()));
    let (_home, address, thread) = device(answers);
    let tpm = Tpm::connect(&address).unwrap();
    assert_eq!(*tpm.random().unwrap(), [5; 32]);
    thread.join().unwrap();
}

#[test]
fn a_refusal_is_told_with_its_code_and_the_connection_lives_on() {
    let mut answers = nothing_loaded();
    answers.push(answer(0x8001, 0x101, &[]));
    answers.push(answer(0x8001, 0, &[&[0, 32], [5; 32].as_slice()].concat()));
    let (_home, address, thread) = device(answers);
    let tpm = Tpm::connect(&address).unwrap();
    assert!(matches!(
        tpm.random(),
        Err(TpmError::Refused {
            command: "GetRandom",
            code: 0x101
        })
    ));
    tpm.random().unwrap();
    thread.join().unwrap();
}

#[test]
fn handles_may_be_used_from_any_thread() {
    const fn shared<T: Send + Sync>() {}
    const { shared::<Tpm>() };
    const { shared::<NodeKey>() };
    const { shared::<AttestationKey>() };
    const { shared::<EndorsementKey>() };
}
