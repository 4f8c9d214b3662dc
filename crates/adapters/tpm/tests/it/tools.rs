//! tpm2-tools as judge: they read our keys, quotes and logs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tpm::AttestationKey;
use tpm::lab::{boot_log, boot_pcrs, play};
use tpm_quote::PcrBank;

use crate::Machine;

fn tool(directory: &Path, command: &[&str]) -> Output {
    Command::new(command[0])
        .args(&command[1..])
        .current_dir(directory)
        .output()
        .unwrap()
}

#[test]
#[ignore = "needs swtpm and tpm2-tools; run by make test"]
fn checkquote_believes_our_quote_and_not_a_replayed_one() {
    let machine = Machine::start();
    let tpm = machine.connect();
    play(&tpm, &boot_log("6.1.0-18-amd64")).unwrap();
    let ak = AttestationKey::make(&tpm).unwrap();
    let quote = ak
        .quote(&[0xab; 32], &boot_pcrs(PcrBank::Sha256).unwrap())
        .unwrap();
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("ak.pub"), ak.public().to_sized()).unwrap();
    fs::write(home.path().join("quote.msg"), &quote.attest).unwrap();
    fs::write(home.path().join("quote.sig"), &quote.signature).unwrap();
    let check = |challenge: &str| {
        tool(
            home.path(),
            &[
                "tpm2_checkquote",
                "-u",
                "ak.pub",
                "-m",
                "quote.msg",
                "-s",
                "quote.sig",
                "-g",
                "sha256",
                "-q",
                challenge,
            ],
        )
    };
    let believed = check(&"ab".repeat(32));
    assert!(
        believed.status.success(),
        "{}",
        String::from_utf8_lossy(&believed.stderr)
    );
    assert!(!check(&"ac".repeat(32)).status.success());
}

#[test]
#[ignore = "needs swtpm and tpm2-tools; run by make test"]
fn eventlog_reads_and_replays_our_log_to_the_values_of_the_tpm() {
    let machine = Machine::start();
    let tpm = machine.connect();
    let log = boot_log("6.1.0-18-amd64");
    play(&tpm, &log).unwrap();
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("boot.log"), log.to_bytes()).unwrap();
    let output = tool(home.path(), &["tpm2_eventlog", "boot.log"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for bank in [PcrBank::Sha256, PcrBank::Sha384] {
        for (_, value) in tpm.pcr_read(&boot_pcrs(bank).unwrap()).unwrap().iter() {
            let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(text.contains(&digits), "{text}");
        }
    }
}
