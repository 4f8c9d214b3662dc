//! Our decoder under containerd: an encrypted image pulled and unpacked, against the same image in plain and imgcrypt's decoder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use benches::{
    Better, Content, KeyPair, Layout, Limits, Packing, Side, alternate, imgcrypt_decoder,
    in_memory, introduce, start, system_layers,
};
use fixture::{
    Containerd, Cri, Decoder, NodeConfig, Recipe, Registry, Scratch, run, workspace_binary,
    yield_to_interrupt,
};
use tokio::runtime::Runtime;

fn main() -> anyhow::Result<()> {
    // What fails while an interrupt ends the parts must not end us before them.
    compare_all().inspect_err(|_| yield_to_interrupt())
}

fn compare_all() -> anyhow::Result<()> {
    introduce("decoder");
    let runtime = Runtime::new()?;
    let house = House::open(&runtime)?;
    let cases = [
        (
            "4 layers of 64 MiB, random",
            vec![Content::Random(64 * MIB); 4],
        ),
        (
            "12 layers of files of this machine",
            system_layers(12, 24 * MIB, Packing::Gzip)?,
        ),
    ];
    for (number, (name, layers)) in cases.into_iter().enumerate() {
        let (plain, encrypted) = house.push(&layers, number)?;
        let mut sides = vec![
            house.side("bailiwick's decoder", &house.ours, &encrypted),
            house.side("the same image, not encrypted", &house.ours, &plain),
        ];
        if let Some(imgcrypt) = &house.imgcrypt {
            sides.push(house.side("imgcrypt's decoder", imgcrypt, &encrypted));
        }
        let rounds = alternate(LIMITS, sides)?;
        let title = format!("pull and unpack, {name}");
        print!("{}", rounds.table(&title, "s", Better::Less, |wall| *wall));
    }
    Ok(())
}

/// A registry and a containerd for each decoder, all in memory.
struct House<'a> {
    runtime: &'a Runtime,
    // Nodes end before the scratch that they lie in.
    ours: Node,
    imgcrypt: Option<Node>,
    registry: Registry,
    program: PathBuf,
    keys: KeyPair,
    scratch: Scratch,
}

struct Node {
    containerd: Containerd,
    cri: Cri,
}

impl<'a> House<'a> {
    fn open(runtime: &'a Runtime) -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        ensure!(in_memory(memory)?, "`/dev/shm` does not lie in memory");
        let _ = tempfile::env::override_temp_dir(memory);
        let scratch = Scratch::new("bench-decoder")?;
        scratch.clean_on_interrupt()?;
        let keys = KeyPair::make(scratch.path())?;
        let registry = Registry::start(&scratch)?;
        let pause = registry.push(&Recipe::pause().build(&scratch)?, "bench/pause:1")?;
        let program = workspace_binary("bailiwick")?;
        let node = |name: &str, program: PathBuf, words: &[&str]| {
            let decoder = decoder(program, words, &keys);
            let config = NodeConfig::new(name, &registry, &pause).decoder(decoder);
            let containerd = Containerd::start(&scratch, &config)?;
            let cri = runtime.block_on(containerd.cri())?;
            anyhow::Ok(Node { containerd, cri })
        };
        let ours = node("ours", program.clone(), &["plugin", "containerd-decoder"])?;
        let imgcrypt = match imgcrypt_decoder() {
            Some(program) => Some(node("imgcrypt", program, &[])?),
            None => {
                println!("note: imgcrypt's decoder was not built and is not measured");
                None
            }
        };
        Ok(Self {
            runtime,
            ours,
            imgcrypt,
            registry,
            program,
            keys,
            scratch,
        })
    }

    /// Puts an image into the registry, plain and encrypted; answers both references.
    fn push(&self, layers: &[Content], number: usize) -> anyhow::Result<(String, String)> {
        let layout = Layout::of(self.scratch.join("image"), layers)?;
        let plain = self.registry.reference(&format!("bench/plain:{number}"));
        let encrypted = self
            .registry
            .reference(&format!("bench/encrypted:{number}"));
        let from = layout.transport();
        let to = format!("docker://{plain}");
        let words = [
            "--insecure-policy",
            "copy",
            "--quiet",
            "--dest-tls-verify=false",
        ];
        run("skopeo", words.into_iter().chain([from.as_str(), &to]))?;
        let to = format!("docker://{encrypted}");
        let recipient = self.keys.recipient();
        let words = ["image", "encrypt", &from, &to, "--recipient", &recipient];
        run(&self.program, words)?;
        layout.remove()?;
        Ok((plain, encrypted))
    }

    /// Seconds of a pull by the kubelet's own interface on a node that knows nothing of the image.
    fn side<'s>(
        &'s self,
        name: &str,
        node: &'s Node,
        reference: &'s str,
    ) -> Side<'s, f64, anyhow::Error> {
        Side::new(name, move || {
            let began = start();
            self.runtime.block_on(node.cri.pull(reference))?;
            let took = began.elapsed().as_secs_f64();
            node.forget()?;
            Ok(took)
        })
    }
}

/// All decoders are given the same folder of keys.
fn decoder(program: PathBuf, words: &[&str], keys: &KeyPair) -> Decoder {
    let folder = keys.private_folder().display().to_string();
    let keys = ["--decryption-keys-path", folder.as_str()];
    let words = words.iter().chain(&keys);
    Decoder {
        program,
        arguments: words.map(|word| (*word).to_owned()).collect(),
        environment: Vec::new(),
    }
}

impl Node {
    /// Removes all images with all that is unpacked of them.
    fn forget(&self) -> anyhow::Result<()> {
        let ctr = |words: &[&str]| {
            let words = ["--namespace", "k8s.io"].iter().chain(words);
            self.containerd.ctr(words)
        };
        let images = ctr(&["images", "list", "--quiet"])?;
        let images: Vec<&str> = images.lines().collect();
        ctr(&[&["images", "remove", "--sync"][..], &images].concat())?;
        let left = ctr(&["content", "list", "--quiet"])?;
        ensure!(left.trim().is_empty(), "the node keeps content: {left}");
        Ok(())
    }
}

const MIB: u64 = 1024 * 1024;
const LIMITS: Limits = Limits {
    least: 5,
    most: 7,
    time: Duration::from_secs(60),
};
