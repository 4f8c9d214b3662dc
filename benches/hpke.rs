//! Sealing and opening a layer key with `hpke-xwing`, against the `hpke` crate: both speak X-Wing, HKDF-SHA256, AES-256-GCM.

use std::time::Duration;

use anyhow::ensure;
use benches::{Better, Limits, Side, alternate, introduce, start};
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable, aead::AesGcm256, kdf::HkdfSha256,
    kem::XWing, single_shot_open, single_shot_seal,
};
use hpke_xwing::{PrivateKey, PublicKey, Sealed, Suite};

type Run<'a> = Side<'a, f64, anyhow::Error>;

fn main() -> anyhow::Result<()> {
    introduce("hpke");
    let ours = PrivateKey::generate(Suite::XWing)?;
    let theirs = Peer::with(&ours)?;
    // Each opens what the other sealed: they do the same work.
    ensure!(
        theirs.open(&seal(ours.public_key())?)? == MESSAGE,
        "the peer opens something else"
    );
    let sealed = theirs.seal()?;
    ensure!(open(&ours, &sealed)? == MESSAGE, "we open something else");
    sealing(&ours, &theirs)?;
    opening(&ours, &theirs, &sealed)
}

fn sealing(ours: &PrivateKey, theirs: &Peer) -> anyhow::Result<()> {
    let sides = vec![
        Run::new("hpke-xwing", || each(|| seal(ours.public_key()).map(drop))),
        Run::new("hpke crate", || each(|| theirs.seal().map(drop))),
    ];
    show("seal 48 bytes", sides)
}

fn opening(ours: &PrivateKey, theirs: &Peer, sealed: &Sealed) -> anyhow::Result<()> {
    let seed = ours.expose_bytes();
    let sides = vec![
        Run::new("hpke-xwing", || each(|| open(ours, sealed).map(drop))),
        Run::new("hpke-xwing, key read each time", || {
            each(|| open(&PrivateKey::from_bytes(Suite::XWing, &seed)?, sealed).map(drop))
        }),
        Run::new("hpke crate", || each(|| theirs.open(sealed).map(drop))),
    ];
    show("open 48 bytes", sides)
}

fn seal(key: &PublicKey) -> anyhow::Result<Sealed> {
    Ok(hpke_xwing::seal(key, INFO, AAD, MESSAGE)?)
}

fn open(key: &PrivateKey, Sealed { enc, ct }: &Sealed) -> anyhow::Result<Vec<u8>> {
    Ok(hpke_xwing::open(key, enc, INFO, AAD, ct)?.to_vec())
}

/// The same key pair in the other library's types.
struct Peer {
    private: <XWing as Kem>::PrivateKey,
    public: <XWing as Kem>::PublicKey,
}

impl Peer {
    fn with(key: &PrivateKey) -> anyhow::Result<Self> {
        Ok(Self {
            private: <XWing as Kem>::PrivateKey::from_bytes(&key.expose_bytes())?,
            public: <XWing as Kem>::PublicKey::from_bytes(key.public_key().to_bytes())?,
        })
    }

    fn seal(&self) -> anyhow::Result<Sealed> {
        let (enc, ct) = single_shot_seal::<AesGcm256, HkdfSha256, XWing>(
            &OpModeS::Base,
            &self.public,
            INFO,
            MESSAGE,
            AAD,
        )?;
        let enc = enc.to_bytes().to_vec();
        Ok(Sealed { enc, ct })
    }

    fn open(&self, Sealed { enc, ct }: &Sealed) -> anyhow::Result<Vec<u8>> {
        let enc = <XWing as Kem>::EncappedKey::from_bytes(enc)?;
        Ok(single_shot_open::<AesGcm256, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.private,
            &enc,
            INFO,
            ct,
            AAD,
        )?)
    }
}

fn show(title: &str, sides: Vec<Run<'_>>) -> anyhow::Result<()> {
    let rounds = alternate(Limits::default(), sides)?;
    print!("{}", rounds.table(title, "µs", Better::Less, |time| *time));
    Ok(())
}

/// Microseconds that the work takes, the mean of as many times as the slice has room for.
fn each(mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let (began, mut times) = (start(), 0_u32);
    while times == 0 || began.elapsed() < SLICE {
        work()?;
        times += 1;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(times))
}

const SLICE: Duration = Duration::from_millis(250);
const INFO: &[u8] = b"a measurement";
const AAD: &[u8] = b"what the message belongs to, a digest for instance";
/// As long as a layer's key and nonce.
const MESSAGE: &[u8] = &[7; 48];
