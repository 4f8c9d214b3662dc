//! The layer cipher in memory, on one core, against the primitives that it is made of.

use anyhow::ensure;
use aws_lc_rs::cipher::{AES_256, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey};
use aws_lc_rs::{digest, hmac, rand};
use benches::{Better, Limits, Side, alternate, introduce, start};
use oci_crypt::{Finished, LayerOpener, LayerSealer, PublicOptions, SystemRandomness};
use twin_sha256::{Sha256, TwinSha256};

type Run<'a> = Side<'a, f64, anyhow::Error>;

fn main() -> anyhow::Result<()> {
    introduce("cipher");
    let mut plain = vec![0; SIZE];
    rand::fill(&mut plain)?;
    compare("seal a layer", sealing(&plain), &plain)?;
    let mut sealed = vec![0; SIZE];
    let finished = seal(&plain, &mut sealed)?;
    let mut opened = vec![0; SIZE];
    open(&sealed, &mut opened, &finished)?;
    ensure!(opened == plain, "the layer did not come back");
    compare("open a layer", opening(&sealed, &finished), &sealed)
}

fn compare(title: &str, ours: Run<'_>, layer: &[u8]) -> anyhow::Result<()> {
    let sides = vec![
        ours,
        sha256(layer),
        counter_mode(layer),
        twin(layer),
        hmac_sha256(layer),
        own_sha256(layer),
    ];
    let rounds = alternate(Limits::default(), sides)?;
    let rounds = rounds.derived("one SHA-256 and one AES-256-CTR", |figures| {
        let [_, sha256, counter_mode, ..] = figures else {
            return None;
        };
        Some(1.0 / (1.0 / sha256 + 1.0 / counter_mode))
    });
    let table = rounds.table(title, "GB/s per core", Better::More, |rate| *rate);
    print!("{table}");
    Ok(())
}

fn sealing(plain: &[u8]) -> Run<'_> {
    let mut output = vec![0; SIZE];
    Run::new("LayerSealer", move || {
        rate(|| seal(plain, &mut output).map(drop))
    })
}

fn opening<'a>(sealed: &'a [u8], finished: &'a Finished) -> Run<'a> {
    let mut output = vec![0; SIZE];
    Run::new("LayerOpener", move || {
        rate(|| open(sealed, &mut output, finished))
    })
}

fn seal(plain: &[u8], output: &mut [u8]) -> anyhow::Result<Finished> {
    let mut sealer = LayerSealer::new(&mut SystemRandomness)?;
    for (input, output) in plain.chunks(PIECE).zip(output.chunks_mut(PIECE)) {
        sealer.update(input, output)?;
    }
    Ok(sealer.finish())
}

fn open(sealed: &[u8], output: &mut [u8], finished: &Finished) -> anyhow::Result<()> {
    let mut opener = LayerOpener::new(&finished.key, &PublicOptions::new(finished.hmac))?;
    for (input, output) in sealed.chunks(PIECE).zip(output.chunks_mut(PIECE)) {
        opener.update(input, output)?;
    }
    let verified = opener.finish()?;
    ensure!(verified.digest == finished.digest, "another digest");
    Ok(())
}

fn sha256(layer: &[u8]) -> Run<'_> {
    Run::new("SHA-256 alone", move || {
        rate(|| {
            let mut context = digest::Context::new(&digest::SHA256);
            layer.chunks(PIECE).for_each(|piece| context.update(piece));
            std::hint::black_box(context.finish());
            Ok(())
        })
    })
}

fn hmac_sha256(layer: &[u8]) -> Run<'_> {
    Run::new("HMAC-SHA256 alone", move || {
        rate(|| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &[2; 32]);
            let mut context = hmac::Context::with_key(&key);
            layer.chunks(PIECE).for_each(|piece| context.update(piece));
            std::hint::black_box(context.sign());
            Ok(())
        })
    })
}

fn twin(layer: &[u8]) -> Run<'_> {
    Run::new("twin-sha256 alone", move || {
        rate(|| {
            let mut twin = TwinSha256::new(&[2; 32]);
            layer.chunks(PIECE).for_each(|piece| twin.update(piece));
            std::hint::black_box(twin.finish().mac);
            Ok(())
        })
    })
}

fn own_sha256(layer: &[u8]) -> Run<'_> {
    Run::new("SHA-256 of twin-sha256 alone", move || {
        rate(|| {
            let mut hash = Sha256::new();
            layer.chunks(PIECE).for_each(|piece| hash.update(piece));
            std::hint::black_box(hash.finish());
            Ok(())
        })
    })
}

fn counter_mode(layer: &[u8]) -> Run<'_> {
    let mut output = vec![0; SIZE];
    Run::new("AES-256-CTR alone", move || {
        rate(|| {
            let context = EncryptionContext::Iv128((&[1; 16]).into());
            let key = UnboundCipherKey::new(&AES_256, &[2; 32])?;
            let mut key = StreamingEncryptingKey::less_safe_ctr(key, context)?;
            for (input, output) in layer.chunks(PIECE).zip(output.chunks_mut(PIECE)) {
                key.less_safe_update(input, output)?;
            }
            std::hint::black_box(&output);
            Ok(())
        })
    })
}

/// Gigabytes, of 10⁹ bytes, per second.
fn rate(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let began = start();
    work()?;
    Ok(SIZE as f64 / 1e9 / began.elapsed().as_secs_f64())
}

/// Much more than any cache holds.
const SIZE: usize = 256 * 1024 * 1024;
/// As the image pipeline hands them on.
const PIECE: usize = 512 * 1024;
