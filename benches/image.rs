//! `bailiwick image encrypt` and `decrypt` against skopeo: whole processes, `oci:` to `oci:`, in memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use benches::{
    Better, Layout, Limits, Rounds, Side, Usage, alternate, in_memory, introduce, measure,
};
use fixture::{Scratch, run, workspace_binary};

type Run<'a> = Side<'a, Usage, anyhow::Error>;

fn main() -> anyhow::Result<()> {
    introduce("image");
    let house = House::open()?;
    println!(
        "one layer of {} MiB, random, gzip; jwe recipient, RSA-3072",
        house.mebibytes
    );
    show("encrypt", &house.encrypt()?);
    show("decrypt", &house.decrypt()?);
    Ok(())
}

struct House {
    /// Everything lies in memory: no disk takes part.
    scratch: Scratch,
    ours: PathBuf,
    skopeo: String,
    mebibytes: u64,
    plain: Layout,
    plain_layer: PathBuf,
}

impl House {
    fn open() -> anyhow::Result<Self> {
        let ours = workspace_binary("bailiwick")?;
        let skopeo = run("skopeo", ["--version"])?.trim().replace("version ", "");
        let mebibytes = match std::env::var(SIZE) {
            Ok(text) => text
                .parse()
                .with_context(|| format!("`{SIZE}` is no number of MiB"))?,
            Err(_) => 256,
        };
        let memory = Path::new("/dev/shm");
        ensure!(in_memory(memory)?, "`/dev/shm` does not lie in memory");
        let _ = tempfile::env::override_temp_dir(memory);
        let scratch = Scratch::new("bench")?;
        scratch.clean_on_interrupt()?;
        let key = scratch.join("key.pem").display().to_string();
        let public = scratch.join("key.pub").display().to_string();
        run(
            "openssl",
            [
                "genpkey",
                "-quiet",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:3072",
                "-out",
                &key,
            ],
        )?;
        run("openssl", ["pkey", "-pubout", "-in", &key, "-out", &public])?;
        let plain = Layout::random(scratch.join("plain"), mebibytes)?;
        Ok(Self {
            plain_layer: plain.layer()?,
            plain,
            scratch,
            ours,
            skopeo,
            mebibytes,
        })
    }

    fn encrypt(&self) -> anyhow::Result<Rounds<Usage>> {
        let recipient = format!("jwe:{}", self.scratch.join("key.pub").display());
        let from = self.plain.transport();
        let ours = ["image", "encrypt", "--recipient", &recipient];
        let theirs = [
            "--insecure-policy",
            "copy",
            "--quiet",
            "--encryption-key",
            &recipient,
        ];
        self.compare(ours, theirs, &from, |layer| {
            layer != self.plain_layer.file_name()
        })
    }

    /// Both open the same image, which the peer encrypted.
    fn decrypt(&self) -> anyhow::Result<Rounds<Usage>> {
        let recipient = format!("jwe:{}", self.scratch.join("key.pub").display());
        let key = self.scratch.join("key.pem").display().to_string();
        let encrypted = Layout::at(self.scratch.join("encrypted"));
        let from = encrypted.transport();
        let words = [
            "--insecure-policy",
            "copy",
            "--quiet",
            "--encryption-key",
            &recipient,
        ];
        run(
            "skopeo",
            words
                .into_iter()
                .chain([self.plain.transport().as_str(), &from]),
        )?;
        let ours = ["image", "decrypt", "--key", &key];
        let theirs = [
            "--insecure-policy",
            "copy",
            "--quiet",
            "--decryption-key",
            &key,
        ];
        self.compare(ours, theirs, &from, |layer| {
            layer == self.plain_layer.file_name()
        })
    }

    /// Ours, skopeo, and openssl that only digests the layer. Each result is looked at before it goes.
    fn compare(
        &self,
        ours: [&str; 4],
        theirs: [&str; 5],
        from: &str,
        well: impl Fn(Option<&std::ffi::OsStr>) -> bool,
    ) -> anyhow::Result<Rounds<Usage>> {
        let target = Layout::at(self.scratch.join("target"));
        let to = target.transport();
        let copy = |program: &Path, words: &[&str]| {
            let usage = measure(Command::new(program).args(words).args([from, &to]), LIMIT)?;
            ensure!(
                well(target.layer()?.file_name()),
                "`{}` did not do its work",
                program.display()
            );
            target.remove()?;
            Ok(usage)
        };
        let digest = || {
            let mut openssl = Command::new("openssl");
            openssl.args(["dgst", "-sha256"]).arg(&self.plain_layer);
            Ok(measure(&mut openssl, LIMIT)?)
        };
        let limits = Limits {
            least: 5,
            most: 9,
            time: Duration::from_secs(20),
        };
        let sides = vec![
            Run::new("bailiwick", || copy(&self.ours, &ours)),
            Run::new(self.skopeo.as_str(), || copy(Path::new("skopeo"), &theirs)),
            Run::new("one SHA-256 pass (openssl)", digest),
        ];
        alternate(limits, sides)
    }
}

fn show(work: &str, rounds: &Rounds<Usage>) {
    let title = |what: &str| format!("image {work}, {what}");
    let seconds = |time: Duration| time.as_secs_f64();
    let wall = rounds.table(&title("wall time"), "s", Better::Less, |usage| {
        seconds(usage.wall)
    });
    let cpu = rounds.table(&title("user and system time"), "s", Better::Less, |usage| {
        seconds(usage.cpu)
    });
    let memory = rounds.table(&title("peak memory"), "MiB", Better::Less, |usage| {
        usage.peak_rss as f64 / (1024.0 * 1024.0)
    });
    print!("{wall}{cpu}{memory}");
}

/// Names the layer's size, in MiB.
const SIZE: &str = "BENCH_LAYER_MIB";
/// A minute for a GiB is slower than any tool was seen to be.
const LIMIT: Duration = Duration::from_secs(120);
