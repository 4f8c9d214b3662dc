//! How long programs take that live for a moment: a decoder with a layer of 10 kB, and an image of one such layer.

use std::fs::{self, File};
use std::io::{PipeReader, Read, Seek, Write, pipe};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use benches::{
    Better, Content, KeyPair, Layout, Limits, Rounds, Side, Skopeo, alternate, imgcrypt_decoder,
    in_memory, introduce, measure, skopeos, start,
};
use fixture::{Scratch, run, workspace_binary, yield_to_interrupt};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::json;

type Run<'a> = Side<'a, f64, anyhow::Error>;

fn main() -> anyhow::Result<()> {
    // What fails while an interrupt ends the parts must not end us before them.
    compare_all().inspect_err(|_| yield_to_interrupt())
}

fn compare_all() -> anyhow::Result<()> {
    introduce("start");
    let house = House::open()?;
    show(
        "decoder with a layer of 10 kB, from start to end",
        &house.decoders()?,
    );
    show("image encrypt, one layer of 10 kB", &house.encrypt()?);
    show("image decrypt, one layer of 10 kB", &house.decrypt()?);
    Ok(())
}

fn show(title: &str, rounds: &Rounds<f64>) {
    print!("{}", rounds.table(title, "ms", Better::Less, |time| *time));
}

struct House {
    /// Every program that is started inherits it as descriptor 3, where containerd puts what it says of a layer.
    payload: File,
    sealed: Vec<u8>,
    packed: Vec<u8>,
    plain: Layout,
    encrypted: Layout,
    target: Layout,
    keys: KeyPair,
    ours: PathBuf,
    skopeos: Vec<Skopeo>,
    /// Everything lies in memory: no disk takes part.
    _scratch: Scratch,
}

impl House {
    fn open() -> anyhow::Result<Self> {
        // Nothing else was opened yet.
        let payload = third()?;
        let memory = Path::new("/dev/shm");
        ensure!(in_memory(memory)?, "`/dev/shm` does not lie in memory");
        let _ = tempfile::env::override_temp_dir(memory);
        let scratch = Scratch::new("bench-start")?;
        scratch.clean_on_interrupt()?;
        let keys = KeyPair::make(scratch.path())?;
        let ours = workspace_binary("bailiwick")?;
        let plain = Layout::of(scratch.join("plain"), &[Content::Random(10_000)])?;
        let encrypted = Layout::at(scratch.join("encrypted"));
        let (from, to, recipient) = (plain.transport(), encrypted.transport(), keys.recipient());
        run(&ours, encrypt(&recipient).into_iter().chain([&*from, &*to]))?;
        let mut house = Self {
            payload,
            sealed: only(&encrypted)?,
            packed: only(&plain)?,
            plain,
            encrypted,
            target: Layout::at(scratch.join("target")),
            keys,
            ours,
            skopeos: skopeos()?,
            _scratch: scratch,
        };
        let payload = payload_of(&house.encrypted)?;
        house.payload.write_all(&payload)?;
        Ok(house)
    }

    /// Each decoder opens the same layer with the same folder of keys.
    fn decoders(&self) -> anyhow::Result<Rounds<f64>> {
        let keys = self.keys.private_folder();
        let keyed = move |mut command: Command| {
            command.arg("--decryption-keys-path").arg(&keys);
            command
        };
        let ours = || {
            let mut command = Command::new(&self.ours);
            command.args(["plugin", "containerd-decoder"]);
            // An agent of this machine would be asked where the layer belongs, and nobody asks that of the peer.
            command.args(["--socket", "/does/not/exist"]);
            self.decode(&mut keyed(command))
        };
        let mut sides = vec![Run::new("bailiwick plugin containerd-decoder", ours)];
        match imgcrypt_decoder() {
            Some(program) => sides.push(Run::new("imgcrypt's ctd-decoder", {
                let keyed = &keyed;
                move || self.decode(&mut keyed(Command::new(&program)))
            })),
            None => println!("note: imgcrypt's decoder was not built and is not measured"),
        }
        sides.push(Run::new("/bin/true", || {
            Ok(self.spawn(&mut Command::new("/bin/true"))?.0)
        }));
        alternate(LIMITS, sides)
    }

    /// Whole processes, without a floor: what they are beside `/bin/true` follows from the first table.
    fn encrypt(&self) -> anyhow::Result<Rounds<f64>> {
        let recipient = self.keys.recipient();
        let (ours, theirs) = (encrypt(&recipient), copy("--encryption-key", &recipient));
        self.images(&ours, &theirs, &self.plain, |layer| layer != self.packed)
    }

    fn decrypt(&self) -> anyhow::Result<Rounds<f64>> {
        let key = self.keys.private();
        let ours = ["image", "decrypt", "--key", &key];
        let theirs = copy("--decryption-key", &key);
        self.images(&ours, &theirs, &self.encrypted, |layer| {
            layer == self.packed
        })
    }

    fn images(
        &self,
        ours: &[&str],
        theirs: &[&str],
        from: &Layout,
        well: impl Fn(&[u8]) -> bool,
    ) -> anyhow::Result<Rounds<f64>> {
        let (from, to) = (from.transport(), self.target.transport());
        let copy = |program: &Path, words: &[&str]| {
            let mut command = Command::new(program);
            let usage = measure(command.args(words).args([&from, &to]), LIMIT)?;
            let done = well(&only(&self.target)?);
            ensure!(done, "`{}` did not do its work", program.display());
            self.target.remove()?;
            Ok(usage.wall.as_secs_f64() * 1e3)
        };
        let copy = &copy;
        let mut sides = vec![Run::new("bailiwick", move || copy(&self.ours, ours))];
        for Skopeo { program, name } in &self.skopeos {
            sides.push(Run::new(name, move || copy(program, theirs)));
        }
        alternate(LIMITS, sides)
    }

    fn decode(&self, command: &mut Command) -> anyhow::Result<f64> {
        let (took, mut output) = self.spawn(command)?;
        let mut plain = Vec::new();
        output.read_to_end(&mut plain)?;
        let program = command.get_program().display();
        ensure!(plain == self.packed, "`{program}` did not open the layer");
        Ok(took)
    }

    /// Milliseconds from before the start to the end. Both pipes take the whole layer, so nobody waits for us.
    fn spawn(&self, command: &mut Command) -> anyhow::Result<(f64, PipeReader)> {
        let (input, mut sealed) = pipe()?;
        sealed.write_all(&self.sealed)?;
        drop(sealed);
        let (output, plain) = pipe()?;
        // Who inherits a descriptor inherits its place in the file.
        (&self.payload).rewind()?;
        command.stdin(input).stdout(plain).stderr(Stdio::inherit());
        let began = start();
        let mut child = command.spawn()?;
        let status = child.wait()?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        // The command holds the pipes' other ends, and without this nobody would see the end of the output.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let program = command.get_program().display();
        ensure!(status.success(), "`{program}` ended with {status}");
        Ok((took, output))
    }
}

/// A file as descriptor 3, which programs that are started inherit. A shell could put it there, and would take as long as
/// what is measured.
fn third() -> anyhow::Result<File> {
    let file = tempfile::tempfile()?;
    ensure!(
        file.as_raw_fd() == 3,
        "descriptor 3 was taken before the start: run this without it"
    );
    fcntl_setfd(&file, FdFlags::empty())?;
    Ok(file)
}

/// As containerd says of the layout's only layer what it is: imgcrypt's payload in protobuf's `Any`.
fn payload_of(encrypted: &Layout) -> anyhow::Result<Vec<u8>> {
    let layers = encrypted.descriptors()?;
    let layer = layers.first().context("the image has no layer")?;
    let json = json!({ "DecryptConfig": { "Parameters": null }, "Descriptor": layer });
    let json = json.to_string();
    let mut payload = vec![0x0a, u8::try_from(PAYLOAD.len())?];
    payload.extend_from_slice(PAYLOAD.as_bytes());
    payload.push(0x12);
    let mut length = json.len();
    while length >= 0x80 {
        payload.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    payload.push(length as u8);
    payload.extend_from_slice(json.as_bytes());
    Ok(payload)
}

fn only(layout: &Layout) -> anyhow::Result<Vec<u8>> {
    let layers = layout.layers()?;
    let layer = layers.first().context("the image has no layer")?;
    Ok(fs::read(layer)?)
}

fn encrypt(recipient: &str) -> [&str; 4] {
    ["image", "encrypt", "--recipient", recipient]
}

fn copy<'a>(option: &'a str, key: &'a str) -> [&'a str; 5] {
    ["--insecure-policy", "copy", "--quiet", option, key]
}

const PAYLOAD: &str = "io.containerd.ocicrypt.v1.Payload";
/// Something waits for what never comes.
const LIMIT: Duration = Duration::from_secs(60);
const LIMITS: Limits = Limits {
    least: 50,
    most: 200,
    time: Duration::from_secs(10),
};
