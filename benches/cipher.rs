//! The layer cipher in memory, on one core, against the primitives that it is made of, Go's ocicrypt and OpenSSL.

use std::time::Duration;

use anyhow::ensure;
use aws_lc_rs::cipher::{AES_256, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey};
use aws_lc_rs::{digest, hmac, rand};
use benches::{
    Better, GoOcicrypt, Limits, Primitive, Rounds, Side, alternate, introduce, openssl_speed,
    pin_to_one_core, start,
};
use oci_crypt::{Finished, LayerOpener, LayerSealer, PublicOptions, SystemRandomness};
use twin_sha256::{Sha256, TwinSha256};

type Run<'a> = Side<'a, f64, anyhow::Error>;

fn main() -> anyhow::Result<()> {
    introduce("cipher");
    let core = pin_to_one_core()?;
    println!("all sides run on core {core} alone, Go with GOMAXPROCS=1");
    let mut go = GoOcicrypt::start(SIZE)?;
    if go.is_none() {
        println!("note: Go's ocicrypt was not built and is not measured");
    }
    let mut plain = vec![0; SIZE];
    rand::fill(&mut plain)?;
    let mut sealed = vec![0; SIZE];
    let finished = seal(&plain, &mut sealed, None)?;
    check(&plain, &sealed, &finished)?;
    let layer = Layer {
        plain,
        sealed,
        finished,
    };
    let encrypting = go.as_mut().map(|go| (go, "encrypt"));
    alone("seal a layer", sealing(&layer), &layer, encrypting)?;
    let decrypting = go.as_mut().map(|go| (go, "decrypt"));
    alone("open a layer", opening(&layer), &layer, decrypting)?;
    let sides = vec![sealing_beside(&layer), sealing(&layer)];
    beside("seal a layer and digest what it was", sides, &layer)?;
    let sides = vec![opening_beside(&layer), opening(&layer)];
    beside("open a layer and digest what it is", sides, &layer)
}

struct Layer {
    plain: Vec<u8>,
    sealed: Vec<u8>,
    finished: Finished,
}

/// What is about to be measured does its work, in both forms.
fn check(plain: &[u8], sealed: &[u8], finished: &Finished) -> anyhow::Result<()> {
    let digest = sha256_of(plain);
    let mut output = vec![0; SIZE];
    open(sealed, &mut output, finished, None)?;
    ensure!(output == plain, "the layer did not come back");
    output.fill(0);
    let mut beside = Sha256::new();
    open(sealed, &mut output, finished, Some(&mut beside))?;
    ensure!(output == plain, "the layer did not come back");
    ensure!(beside.finish() == digest, "opening digested something else");
    let mut beside = Sha256::new();
    let finished = seal(plain, &mut output, Some(&mut beside))?;
    ensure!(beside.finish() == digest, "sealing digested something else");
    ensure!(
        finished.digest.to_string() == format!("sha256:{}", hex::encode(sha256_of(&output))),
        "the sealed layer has another digest"
    );
    Ok(())
}

/// Ours, each primitive by itself, and the peers.
fn alone<'a>(
    title: &str,
    ours: Run<'a>,
    layer: &'a Layer,
    go: Option<(&'a mut GoOcicrypt, &'a str)>,
) -> anyhow::Result<()> {
    let bytes = &layer.sealed;
    let mut sides = vec![
        ours,
        sha256(bytes),
        counter_mode(bytes),
        twin(bytes),
        hmac_sha256(bytes),
        own_sha256(bytes),
        openssl("SHA-256", Primitive::Sha256),
        openssl("HMAC-SHA256", Primitive::HmacSha256),
        openssl("AES-256-CTR", Primitive::Aes256Ctr),
    ];
    sides.extend(go.map(|(go, operation)| peer(go, operation)));
    let rounds = alternate(LIMITS, sides)?;
    let rounds = rounds.derived("one SHA-256 and one AES-256-CTR", |figures| {
        let [_, sha256, counter_mode, ..] = figures else {
            return None;
        };
        Some(1.0 / (1.0 / sha256 + 1.0 / counter_mode))
    });
    show(title, &rounds);
    Ok(())
}

/// Both forms of ours, and what the one that digests the plaintext, too, is made of.
fn beside<'a>(title: &str, ours: Vec<Run<'a>>, layer: &'a Layer) -> anyhow::Result<()> {
    let mut sides = ours;
    sides.push(sha256(&layer.sealed));
    sides.push(counter_mode(&layer.sealed));
    sides.push(twin_beside(layer));
    let rounds = alternate(LIMITS, sides)?;
    let rounds = rounds.derived("two SHA-256 and one AES-256-CTR", |figures| {
        let [_, _, sha256, counter_mode, ..] = figures else {
            return None;
        };
        Some(1.0 / (2.0 / sha256 + 1.0 / counter_mode))
    });
    let rounds = rounds.derived("LayerSealer or -Opener, then SHA-256", |figures| {
        let [_, ours, sha256, ..] = figures else {
            return None;
        };
        Some(1.0 / (1.0 / ours + 1.0 / sha256))
    });
    show(title, &rounds);
    Ok(())
}

fn show(title: &str, rounds: &Rounds<f64>) {
    let table = rounds.table(title, "GB/s per core", Better::More, |rate| *rate);
    print!("{table}");
}

fn sealing(layer: &Layer) -> Run<'_> {
    let mut output = vec![0; SIZE];
    Run::new("LayerSealer", move || {
        rate(|| seal(&layer.plain, &mut output, None).map(drop))
    })
}

fn sealing_beside(layer: &Layer) -> Run<'_> {
    let mut output = vec![0; SIZE];
    Run::new("LayerSealer::danger_halves", move || {
        rate(|| {
            let mut beside = Sha256::new();
            seal(&layer.plain, &mut output, Some(&mut beside))?;
            std::hint::black_box(beside.finish());
            Ok(())
        })
    })
}

fn opening(layer: &Layer) -> Run<'_> {
    let mut output = vec![0; SIZE];
    Run::new("LayerOpener", move || {
        rate(|| open(&layer.sealed, &mut output, &layer.finished, None))
    })
}

fn opening_beside(layer: &Layer) -> Run<'_> {
    let mut output = vec![0; SIZE];
    Run::new("LayerOpener::danger_halves", move || {
        rate(|| {
            let mut beside = Sha256::new();
            open(
                &layer.sealed,
                &mut output,
                &layer.finished,
                Some(&mut beside),
            )?;
            std::hint::black_box(beside.finish());
            Ok(())
        })
    })
}

fn seal(
    plain: &[u8],
    output: &mut [u8],
    mut beside: Option<&mut Sha256>,
) -> anyhow::Result<Finished> {
    let mut sealer = LayerSealer::new(&mut SystemRandomness)?;
    for (input, output) in plain.chunks(PIECE).zip(output.chunks_mut(PIECE)) {
        match &mut beside {
            Some(plain) => {
                let (mut cipher, mut tags) = sealer.danger_halves();
                cipher.apply(input, output)?;
                tags.update(output, plain, input)?;
            }
            None => sealer.update(input, output)?,
        }
    }
    Ok(sealer.finish()?)
}

fn open(
    sealed: &[u8],
    output: &mut [u8],
    finished: &Finished,
    mut beside: Option<&mut Sha256>,
) -> anyhow::Result<()> {
    let mut opener = LayerOpener::new(&finished.key, &PublicOptions::new(finished.hmac))?;
    for (input, output) in sealed.chunks(PIECE).zip(output.chunks_mut(PIECE)) {
        match &mut beside {
            Some(plain) => {
                let (mut cipher, mut tags) = opener.danger_halves();
                cipher.apply(input, output)?;
                tags.update(input, plain, output)?;
            }
            None => opener.update(input, output)?,
        }
    }
    let verified = opener.finish()?;
    ensure!(verified.digest == finished.digest, "another digest");
    Ok(())
}

/// The peer has a random layer of its own, as large as ours, and takes its own time.
fn peer<'a>(go: &'a mut GoOcicrypt, operation: &'a str) -> Run<'a> {
    Run::new(go.name().to_owned(), move || {
        let took = go.time(operation)?;
        Ok(SIZE as f64 / 1e9 / took.as_secs_f64())
    })
}

fn openssl(name: &str, primitive: Primitive) -> Run<'static> {
    Run::new(format!("openssl speed, {name}"), move || {
        Ok(openssl_speed(primitive, PIECE)? / 1e9)
    })
}

fn sha256_of(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.finish()
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

/// Digest and HMAC of the sealed layer, digest of the plain one; the rate counts the layer once.
fn twin_beside(layer: &Layer) -> Run<'_> {
    Run::new("TwinSha256::update_beside alone", move || {
        rate(|| {
            let (mut twin, mut other) = (TwinSha256::new(&[2; 32]), Sha256::new());
            let pieces = layer.sealed.chunks(PIECE).zip(layer.plain.chunks(PIECE));
            for (sealed, plain) in pieces {
                twin.update_beside(sealed, &mut other, plain);
            }
            std::hint::black_box((twin.finish().mac, other.finish()));
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
const PIECE: usize = 256 * 1024;
/// OpenSSL takes three seconds of each round.
const LIMITS: Limits = Limits {
    least: 7,
    most: 15,
    time: Duration::from_secs(30),
};
