//! `bailiwick image encrypt` and `decrypt` against skopeo: whole processes, `oci:` to `oci:`, in memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use benches::{
    Better, Content, Layout, Limits, Rounds, Side, Usage, alternate, current_skopeo, in_memory,
    introduce, measure, system_layers,
};
use fixture::{Scratch, run, workspace_binary};

type Run<'a> = Side<'a, Usage, anyhow::Error>;

fn main() -> anyhow::Result<()> {
    introduce("image");
    let house = House::open()?;
    let mebibytes = house.mebibytes;
    let random = |bytes: u64| Content::Random(bytes);
    let whole = mebibytes * MIB;
    let cases = [
        (format!("1 layer of {mebibytes} MiB"), vec![random(whole)]),
        (
            format!("4 layers, {mebibytes} MiB together"),
            vec![random(whole / 4); 4],
        ),
        (
            "12 layers of files of this machine".to_owned(),
            system_layers(12, 24 * MIB)?,
        ),
    ];
    for (name, layers) in cases {
        let image = house.image(&layers)?;
        println!(
            "\n-- {name}; {} MiB packed; jwe recipient, RSA-3072",
            image.bytes / MIB
        );
        show("encrypt", &house.encrypt(&image)?);
        show("decrypt", &house.decrypt(&image)?);
        image.plain.remove()?;
    }
    house.sizes()
}

struct House {
    /// Everything lies in memory: no disk takes part.
    scratch: Scratch,
    ours: PathBuf,
    /// Programs and what they call themselves.
    skopeos: Vec<(PathBuf, String)>,
    mebibytes: u64,
}

struct Image {
    plain: Layout,
    layers: Vec<PathBuf>,
    bytes: u64,
}

impl House {
    fn open() -> anyhow::Result<Self> {
        let ours = workspace_binary("bailiwick")?;
        let debian = run("skopeo", ["--version"])?.trim().replace("version ", "");
        let mut skopeos = vec![(PathBuf::from("skopeo"), debian)];
        match current_skopeo() {
            Some((program, version)) => skopeos.push((program, format!("skopeo {version}"))),
            None => println!("note: a current skopeo was not built and is not measured"),
        }
        let mebibytes = match std::env::var(SIZE) {
            Ok(text) => text
                .parse()
                .with_context(|| format!("`{SIZE}` is no number of MiB"))?,
            Err(_) => 1024,
        };
        let memory = Path::new("/dev/shm");
        ensure!(in_memory(memory)?, "`/dev/shm` does not lie in memory");
        let _ = tempfile::env::override_temp_dir(memory);
        let scratch = Scratch::new("bench")?;
        scratch.clean_on_interrupt()?;
        let house = Self {
            scratch,
            ours,
            skopeos,
            mebibytes,
        };
        let (key, public) = (house.path("key.pem"), house.path("key.pub"));
        let bits = "rsa_keygen_bits:3072";
        let words = ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", bits];
        run("openssl", words.into_iter().chain(["-out", key.as_str()]))?;
        run("openssl", ["pkey", "-pubout", "-in", &key, "-out", &public])?;
        Ok(house)
    }

    fn path(&self, name: &str) -> String {
        self.scratch.join(name).display().to_string()
    }

    fn image(&self, layers: &[Content]) -> anyhow::Result<Image> {
        let plain = Layout::of(self.scratch.join("plain"), layers)?;
        let layers = plain.layers()?;
        let sizes = layers.iter().map(|layer| Ok(layer.metadata()?.len()));
        let bytes = sizes.sum::<std::io::Result<u64>>()?;
        Ok(Image {
            plain,
            layers,
            bytes,
        })
    }

    fn encrypt(&self, image: &Image) -> anyhow::Result<Rounds<Usage>> {
        let recipient = format!("jwe:{}", self.path("key.pub"));
        let from = image.plain.transport();
        let ours = ["image", "encrypt", "--recipient", &recipient];
        let theirs = COPY.into_iter().chain(["--encryption-key", &recipient]);
        let theirs: Vec<&str> = theirs.collect();
        self.compare(image, &ours, &theirs, &from, |layers| {
            layers.len() == image.layers.len() && !same(layers, &image.layers)
        })
    }

    /// All open the same image, which Debian's skopeo encrypted.
    fn decrypt(&self, image: &Image) -> anyhow::Result<Rounds<Usage>> {
        let recipient = format!("jwe:{}", self.path("key.pub"));
        let key = self.path("key.pem");
        let encrypted = Layout::at(self.scratch.join("encrypted"));
        let from = encrypted.transport();
        let plain = image.plain.transport();
        let words = COPY.into_iter().chain(["--encryption-key", &recipient]);
        run("skopeo", words.chain([plain.as_str(), &from]))?;
        let ours = ["image", "decrypt", "--key", &key];
        let theirs = COPY.into_iter().chain(["--decryption-key", &key]);
        let theirs: Vec<&str> = theirs.collect();
        let rounds = self.compare(image, &ours, &theirs, &from, |layers| {
            same(layers, &image.layers)
        });
        encrypted.remove()?;
        rounds
    }

    /// Ours, each skopeo, and openssl that only digests the layers. Each result is looked at before it goes.
    fn compare(
        &self,
        image: &Image,
        ours: &[&str],
        theirs: &[&str],
        from: &str,
        well: impl Fn(&[PathBuf]) -> bool,
    ) -> anyhow::Result<Rounds<Usage>> {
        let target = Layout::at(self.scratch.join("target"));
        let to = target.transport();
        let copy = |program: &Path, words: &[&str]| {
            let usage = measure(Command::new(program).args(words).args([from, &to]), LIMIT)?;
            ensure!(
                well(&target.layers()?),
                "`{}` did not do its work",
                program.display()
            );
            target.remove()?;
            Ok(usage)
        };
        let digest = || {
            let mut openssl = Command::new("openssl");
            openssl.args(["dgst", "-sha256"]).args(&image.layers);
            Ok(measure(&mut openssl, LIMIT)?)
        };
        let mut sides = vec![Run::new("bailiwick", || copy(&self.ours, ours))];
        for (program, name) in &self.skopeos {
            let copy = &copy;
            sides.push(Run::new(name, move || copy(program, theirs)));
        }
        sides.push(Run::new("one SHA-256 pass (openssl)", digest));
        alternate(LIMITS, sides)
    }

    /// One random layer of many sizes: memory should stay flat, and time grow with the size.
    fn sizes(&self) -> anyhow::Result<()> {
        println!("\n-- 1 layer of many sizes; ours alone, the best of 5 runs");
        println!(
            "{:>14} {:>12} {:>10} {:>12} {:>10}",
            "bytes", "encrypt, s", "MiB", "decrypt, s", "MiB"
        );
        for size in [10_000, MIB, 16 * MIB, 256 * MIB, 1024 * MIB, 4096 * MIB] {
            let image = self.image(&[Content::Random(size)])?;
            let encrypted = Layout::at(self.scratch.join("encrypted"));
            let target = Layout::at(self.scratch.join("target"));
            let recipient = format!("jwe:{}", self.path("key.pub"));
            let key = self.path("key.pem");
            let encrypt = ["image", "encrypt", "--recipient", &recipient];
            let sealed = self.best(&encrypt, &image.plain, &encrypted, false)?;
            image.plain.remove()?;
            let decrypt = ["image", "decrypt", "--key", &key];
            let opened = self.best(&decrypt, &encrypted, &target, true)?;
            encrypted.remove()?;
            println!("{size:>14} {sealed} {opened}");
        }
        Ok(())
    }

    /// The least time and the most memory of five runs; leaves a result, unless it is to be removed.
    fn best(
        &self,
        words: &[&str],
        from: &Layout,
        to: &Layout,
        remove: bool,
    ) -> anyhow::Result<String> {
        let (mut wall, mut memory) = (Duration::MAX, 0);
        for _ in 0..5 {
            to.remove()?;
            let mut ours = Command::new(&self.ours);
            ours.args(words).args([from.transport(), to.transport()]);
            let usage = measure(&mut ours, LIMIT)?;
            wall = wall.min(usage.wall);
            memory = memory.max(usage.peak_rss);
        }
        if remove {
            to.remove()?;
        }
        let memory = memory as f64 / MIB as f64;
        Ok(format!("{:>12.4} {memory:>10.1}", wall.as_secs_f64()))
    }
}

/// Whether these are the same layers, which are named by their digests.
fn same(some: &[PathBuf], others: &[PathBuf]) -> bool {
    let names = |layers: &[PathBuf]| -> Vec<_> {
        let names = layers
            .iter()
            .map(|layer| layer.file_name().map(ToOwned::to_owned));
        names.collect()
    };
    names(some) == names(others)
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
        usage.peak_rss as f64 / MIB as f64
    });
    print!("{wall}{cpu}{memory}");
}

const COPY: [&str; 3] = ["--insecure-policy", "copy", "--quiet"];
const MIB: u64 = 1024 * 1024;
/// Names the size of one layer, or of four together, in MiB.
const SIZE: &str = "BENCH_LAYER_MIB";
/// A minute for a GiB is slower than any tool was seen to be.
const LIMIT: Duration = Duration::from_secs(240);
const LIMITS: Limits = Limits {
    least: 5,
    most: 9,
    time: Duration::from_secs(20),
};
