//! Records what a software TPM says into files: the test vectors of `tpm-quote`.
//!
//! `cargo run -p tpm --example record_vectors -- crates/formats/tpm-quote/tests/vectors`

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use tpm::lab::{Manufacturer, boot_log, boot_pcrs, play};
use tpm::{AttestationKey, EkKind, EndorsementKey, NodeKey};
use tpm_quote::PcrBank;

fn main() -> Result<(), Box<dyn Error>> {
    let vectors = PathBuf::from(env::args().nth(1).ok_or("name a directory")?);
    fs::create_dir_all(&vectors)?;
    let save = |name: &str, bytes: &[u8]| fs::write(vectors.join(name), bytes);
    let home = tempfile::tempdir()?;
    let manufacturer = Manufacturer::at(&home.path().join("ca"))?;
    let software = manufacturer.make(&home.path().join("one"), "node-1")?;
    let running = software.start_on_free_port()?;
    let tpm = running.connect()?;

    save("manufacturer.pem", &fs::read(manufacturer.roots_pem())?)?;
    for (kind, name) in [
        (EkKind::Rsa2048, "rsa2048"),
        (EkKind::P256, "p256"),
        (EkKind::P384, "p384"),
    ] {
        let ek = EndorsementKey::make(&tpm, kind)?;
        save(&format!("ek-{name}.pub"), &ek.public().to_sized())?;
        if let Some(certificate) = ek.certificate()? {
            save(&format!("ek-{name}.crt"), &certificate)?;
        }
    }
    let log = boot_log("6.1.0-18-amd64");
    play(&tpm, &log)?;
    save("boot.log", &log.to_bytes())?;
    let ak = AttestationKey::make(&tpm)?;
    let node = NodeKey::make(&tpm)?;
    save("ak.pub", &ak.public().to_sized())?;
    save("node.pub", &node.public().to_sized())?;
    for (bank, name) in [(PcrBank::Sha256, "sha256"), (PcrBank::Sha384, "sha384")] {
        let quote = ak.quote(&[7; 32], &boot_pcrs(bank)?)?;
        save(&format!("quote-{name}.attest"), &quote.attest)?;
        save(&format!("quote-{name}.sig"), &quote.signature)?;
    }
    let certified = ak.certify(&node, &[7; 32])?;
    save("certify.attest", &certified.attest)?;
    save("certify.sig", &certified.signature)?;

    let other = manufacturer
        .make(&home.path().join("two"), "node-2")?
        .start_on_socket()?;
    let other = other.connect()?;
    save(
        "other-ak.pub",
        &AttestationKey::make(&other)?.public().to_sized(),
    )?;
    save(
        "other-node.pub",
        &NodeKey::make(&other)?.public().to_sized(),
    )?;
    save(
        "other-ek-rsa2048.pub",
        &EndorsementKey::make(&other, EkKind::Rsa2048)?
            .public()
            .to_sized(),
    )?;
    let stranger = Manufacturer::at(&home.path().join("stranger"))?;
    stranger.make(&home.path().join("three"), "node-3")?;
    save("stranger.pem", &fs::read(stranger.roots_pem())?)?;
    Ok(())
}
