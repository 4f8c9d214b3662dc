//! `bailiwick image encrypt` and `decrypt` against skopeo: whole processes, `oci:` to `oci:`, in memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use benches::{
    Better, Content, KeyPair, Layout, Limits, Packing, Rounds, Side, Skopeo, Usage, alternate,
    in_memory, introduce, layer_mebibytes, measure, skopeos, system_layers,
};
use fixture::{Scratch, run, workspace_binary, yield_to_interrupt};

type Run<'a> = Side<'a, Usage, anyhow::Error>;

fn main() -> anyhow::Result<()> {
    // What fails while an interrupt ends the parts must not end us before them.
    compare_all().inspect_err(|_| yield_to_interrupt())
}

fn compare_all() -> anyhow::Result<()> {
    introduce("image");
    let house = House::open()?;
    for (name, layers) in cases(house.mebibytes)? {
        let image = house.image(&layers)?;
        println!(
            "\n-- {name}; {} MiB packed; jwe recipient, RSA-3072",
            image.bytes / MIB
        );
        show("encrypt", &house.encrypt(&image)?);
        let decrypted = house.decrypt(&image)?;
        show("decrypt", &decrypted.without(1));
        show("decrypt --leave-content", &decrypted.without(0));
        image.plain.remove()?;
    }
    house.sizes()?;
    house.counts()
}

/// What each image is called, and its layers.
fn cases(mebibytes: u64) -> anyhow::Result<Vec<(String, Vec<Content>)>> {
    let whole = mebibytes * MIB;
    let real = |packing| system_layers(12, 24 * MIB, packing);
    Ok(vec![
        (
            format!("1 layer of {mebibytes} MiB"),
            vec![Content::Random(whole)],
        ),
        (
            format!("4 layers, {mebibytes} MiB together"),
            vec![Content::Random(whole / 4); 4],
        ),
        (
            "12 layers of files of this machine, gzip".to_owned(),
            real(Packing::Gzip)?,
        ),
        (
            "12 layers of files of this machine, zstd".to_owned(),
            real(Packing::Zstd)?,
        ),
    ])
}

struct House {
    /// Everything lies in memory: no disk takes part.
    scratch: Scratch,
    ours: PathBuf,
    skopeos: Vec<Skopeo>,
    keys: KeyPair,
    mebibytes: u64,
}

struct Image {
    plain: Layout,
    layers: Vec<PathBuf>,
    bytes: u64,
}

impl House {
    fn open() -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        ensure!(in_memory(memory)?, "`/dev/shm` does not lie in memory");
        let _ = tempfile::env::override_temp_dir(memory);
        let scratch = Scratch::new("bench")?;
        scratch.clean_on_interrupt()?;
        Ok(Self {
            ours: workspace_binary("bailiwick")?,
            skopeos: skopeos()?,
            keys: KeyPair::make(scratch.path())?,
            mebibytes: layer_mebibytes()?,
            scratch,
        })
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
        let recipient = self.keys.recipient();
        let from = image.plain.transport();
        let ours = ["image", "encrypt", "--recipient", &recipient];
        let theirs = COPY.into_iter().chain(["--encryption-key", &recipient]);
        let theirs: Vec<&str> = theirs.collect();
        self.compare(image, &[&ours], &theirs, &from, |layers| {
            layers.len() == image.layers.len() && !same(layers, &image.layers)
        })
    }

    /// All open the same image, which ours encrypted, so that its layers are bound to it.
    fn decrypt(&self, image: &Image) -> anyhow::Result<Rounds<Usage>> {
        let (recipient, key) = (self.keys.recipient(), self.keys.private());
        let encrypted = Layout::at(self.scratch.join("encrypted"));
        let from = encrypted.transport();
        let plain = image.plain.transport();
        let words = ["image", "encrypt", "--recipient", &recipient];
        run(&self.ours, words.into_iter().chain([&plain, from.as_str()]))?;
        let ours = ["image", "decrypt", "--key", &key];
        let left = [&ours[..], &["--leave-content"]].concat();
        let theirs = COPY.into_iter().chain(["--decryption-key", &key]);
        let theirs: Vec<&str> = theirs.collect();
        let rounds = self.compare(image, &[&ours, &left], &theirs, &from, |layers| {
            same(layers, &image.layers)
        });
        encrypted.remove()?;
        rounds
    }

    /// Ours, each skopeo, and openssl that only digests the layers. Each result is looked at before it goes.
    fn compare(
        &self,
        image: &Image,
        ours: &[&[&str]],
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
        let copy = &copy;
        let side = |words| Run::new("bailiwick", move || copy(&self.ours, words));
        let mut sides: Vec<_> = ours.iter().copied().map(side).collect();
        for Skopeo { program, name } in &self.skopeos {
            sides.push(Run::new(name, move || copy(program, theirs)));
        }
        sides.push(Run::new("one SHA-256 pass (openssl)", digest));
        alternate(LIMITS, sides)
    }

    /// One random layer of many sizes: memory should stay flat, and so should the rate once the layer is large.
    fn sizes(&self) -> anyhow::Result<()> {
        println!("\n-- 1 layer of many sizes; ours alone, {BEST}");
        heading("bytes");
        for size in [10_000, MIB, 16 * MIB, 256 * MIB, 1024 * MIB, 4096 * MIB] {
            self.line(size, &[Content::Random(size)])?;
        }
        Ok(())
    }

    /// As many bytes in more and more layers: what layers at the same time cost in memory.
    fn counts(&self) -> anyhow::Result<()> {
        let mebibytes = self.mebibytes;
        println!("\n-- {mebibytes} MiB in 1, 4 and 12 layers; ours alone, {BEST}");
        heading("layers");
        for count in [1, 4, 12] {
            let layer = Content::Random(mebibytes * MIB / count);
            let layers: Vec<_> = (0..count).map(|_| layer.clone()).collect();
            self.line(count, &layers)?;
        }
        Ok(())
    }

    fn line(&self, name: u64, layers: &[Content]) -> anyhow::Result<()> {
        let image = self.image(layers)?;
        let encrypted = Layout::at(self.scratch.join("encrypted"));
        let target = Layout::at(self.scratch.join("target"));
        let (recipient, key) = (self.keys.recipient(), self.keys.private());
        let encrypt = ["image", "encrypt", "--recipient", &recipient];
        let sealed = self.best(&encrypt, &image.plain, &encrypted, image.bytes)?;
        // There may be no room for three of them.
        image.plain.remove()?;
        let decrypt = ["image", "decrypt", "--key", &key];
        let opened = self.best(&decrypt, &encrypted, &target, image.bytes)?;
        let back = target.layers()?;
        ensure!(same(&back, &image.layers), "the image did not come back");
        encrypted.remove()?;
        target.remove()?;
        println!("{name:>14} {sealed} {opened}");
        Ok(())
    }

    /// The least time, its rate, and the most memory of five runs; the last result stays.
    fn best(
        &self,
        words: &[&str],
        from: &Layout,
        to: &Layout,
        bytes: u64,
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
        let seconds = wall.as_secs_f64();
        let rate = bytes as f64 / MIB as f64 / seconds;
        let memory = memory as f64 / MIB as f64;
        Ok(format!("{seconds:>12.4} {rate:>10.1} {memory:>10.1}"))
    }
}

fn heading(first: &str) {
    let columns = |work: &str| format!("{:>12} {:>10} {:>10}", work, "MiB/s", "peak, MiB");
    let (encrypt, decrypt) = (columns("encrypt, s"), columns("decrypt, s"));
    println!("{first:>14} {encrypt} {decrypt}");
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
const BEST: &str = "the least time and the most memory of 5 runs";
/// A minute for a GiB is slower than any tool was seen to be.
const LIMIT: Duration = Duration::from_secs(240);
const LIMITS: Limits = Limits {
    least: 5,
    most: 9,
    time: Duration::from_secs(20),
};
