//! Everybody who takes part: their tools, and the cells of a row.

mod keys;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use fixture::{Image, Scratch, run};
use real::keys::KeyPair;
use real::peers::{Ocicrypt, skopeo_copy, skopeo_copy_with, stream_processor};
use real::tokens::SoftHsm;
use real::{Judge, Program};

use super::nodes::Nodes;
use super::reasons::{refused, told_apart};
use super::schemes::{Asks, Holder, Scheme};

pub(crate) const COLUMNS: [&str; 10] = [
    "us → skopeo",
    "skopeo → us",
    "us → ocicrypt",
    "ocicrypt → us",
    "us → imgcrypt",
    "us → imgcrypt, containerd",
    "us → our decoder, containerd",
    "skopeo → our decoder, containerd",
    "ocicrypt → our decoder, containerd",
    "us → our decoder, `ctr pull`",
];
pub(crate) const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What a cell comes to.
pub(crate) type Cell = Result<(), String>;

/// The people, and the tools of all houses.
pub(crate) struct Crew {
    pub(crate) scratch: Scratch,
    pub(crate) program: Program,
    pub(crate) nodes: Nodes,
    pub(crate) ocicrypt: Ocicrypt,
    /// The same library, with modules.
    ocicrypt_with_tokens: Ocicrypt,
    imgcrypt: Judge,
    tokens: SoftHsm,
    environment: Vec<(String, String)>,
    keys: Mutex<BTreeMap<String, KeyPair>>,
}

impl Crew {
    pub(crate) async fn gather(name: &str) -> Self {
        let scratch = Scratch::new(name).unwrap();
        for folder in ["keys", "people", "images"] {
            std::fs::create_dir(scratch.join(folder)).unwrap();
        }
        let (program, imgcrypt) = (
            Program::find(),
            Judge::build_with_cgo("imgcrypt", ".", "imgcrypt"),
        );
        let tokens = SoftHsm::set_up(scratch.path(), &["house"]);
        let config = super::nodes::key_providers(&scratch);
        let environment = [("OCICRYPT_KEYPROVIDER_CONFIG".to_owned(), config)];
        let environment = [environment.as_slice(), &tokens.environment()].concat();
        Self {
            nodes: Nodes::start(&scratch, &program, &imgcrypt, &environment).await,
            ocicrypt: Ocicrypt::build(environment.clone()),
            ocicrypt_with_tokens: Ocicrypt::with_tokens(environment.clone()),
            keys: Mutex::default(),
            scratch,
            program,
            imgcrypt,
            tokens,
            environment,
        }
    }

    /// Go's judge for a scheme.
    fn judge_of(&self, scheme: &Scheme) -> &Ocicrypt {
        match scheme.asks {
            Asks::Files => &self.ocicrypt,
            Asks::Tokens => &self.ocicrypt_with_tokens,
        }
    }

    pub(crate) fn place(&self, name: &str) -> Image {
        Image::at(self.scratch.join("images").join(name), "1")
    }

    /// An image like no other: a runtime needs no key for what it has unpacked once.
    pub(crate) fn plain(&self, name: &str) -> Image {
        // skopeo packs what is not, so that only packed layers come back as they were.
        let packed =
            ["first", "second"].map(|number| self.layer(&format!("{number} of {name}"), GZIP));
        let layers = packed
            .iter()
            .map(|(bytes, diff_id)| (GZIP, bytes.as_slice(), diff_id.clone()));
        let folder = self.scratch.join("images").join(name);
        Image::build(folder, "1", &layers.collect::<Vec<_>>())
    }

    /// A layer with one file, packed as its type says, and the digest of what it unpacks to.
    pub(crate) fn layer(&self, content: &str, media_type: &str) -> (Vec<u8>, String) {
        let folder = tempfile::tempdir_in(self.scratch.path()).unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        let name = content.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        std::fs::write(tree.join(name), format!("{content}\n").repeat(4000)).unwrap();
        let tar = folder.path().join("layer");
        let (tar, tree) = (tar.to_str().unwrap(), tree.to_str().unwrap());
        run(
            "tar",
            ["--owner=0", "--group=0", "-C", tree, "-cf", tar, "."],
        )
        .unwrap();
        let diff_id = estate::Digest::of(std::fs::read(tar).unwrap()).to_string();
        let packed = match media_type.rsplit(['+', '.']).next() {
            Some("gzip") => {
                run("gzip", ["-n", tar]).unwrap();
                format!("{tar}.gz")
            }
            Some("zstd") => {
                run("zstd", ["-q", tar]).unwrap();
                format!("{tar}.zst")
            }
            _ => tar.to_owned(),
        };
        (std::fs::read(packed).unwrap(), diff_id)
    }

    /// The cells of one scheme.
    pub(crate) fn row(&self, scheme: &Scheme) -> Vec<String> {
        let name = |who: &str| {
            let row = scheme
                .name
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            format!("{}-{who}", row.to_ascii_lowercase())
        };
        let (plain_us, plain_skopeo, plain_go) = (
            self.plain(&name("plain-us")),
            self.plain(&name("plain-skopeo")),
            self.plain(&name("plain-go")),
        );
        let us = self.encrypt(&plain_us, &name("us"), scheme).unwrap();
        let skopeo = self.by_skopeo(&plain_skopeo, &name("skopeo"), scheme);
        let go = self.by_go(&plain_go, &name("go"), scheme);
        let opened = |image: &Result<Image, String>, plain: &Image| match image {
            Err(words) => refused(words),
            Ok(image) => each(scheme, |holder| self.opens_here(image, plain, holder)),
        };
        let pulled = |image: &Result<Image, String>| match image {
            Err(words) => refused(words),
            Ok(image) => cell(self.nodes.pull_with_ours(image)),
        };
        vec![
            each(scheme, |holder| opens_for_skopeo(&us, &plain_us, holder)),
            opened(&skopeo, &plain_skopeo),
            each(scheme, |holder| {
                let layers = self.judge_of(scheme).decrypt(&us, &holder.judge)?;
                same(&layers, &plain_us)
            }),
            opened(&go, &plain_go),
            each(scheme, |holder| {
                self.opens_for_imgcrypt(&us, &plain_us, holder)
            }),
            cell(self.nodes.pull_with_imgcrypt(&us, scheme.decoder)),
            pulled(&Ok(us.clone())),
            pulled(&skopeo),
            pulled(&go),
            cell(self.nodes.pull_with_ctr(&us)),
        ]
    }

    /// `bailiwick image encrypt`.
    fn encrypt(&self, plain: &Image, name: &str, scheme: &Scheme) -> Result<Image, String> {
        self.encrypt_for(plain, name, &scheme.recipients, &scheme.options)
    }

    pub(crate) fn encrypt_for(
        &self,
        plain: &Image,
        name: &str,
        recipients: &[String],
        options: &[String],
    ) -> Result<Image, String> {
        let image = self.place(name);
        let mut words = vec![
            "image".to_owned(),
            "encrypt".into(),
            plain.transport(),
            image.transport(),
        ];
        for recipient in recipients {
            words.extend(["--recipient".to_owned(), recipient.clone()]);
        }
        words.extend(options.iter().cloned());
        let said = self.program.run_with(words, &borrowed(&self.environment));
        match said.code {
            0 => Ok(image),
            _ => Err(said.stderr),
        }
    }

    fn by_skopeo(&self, plain: &Image, name: &str, scheme: &Scheme) -> Result<Image, String> {
        if scheme.is_ours_alone() {
            return Err("nobody else makes this packet".to_owned());
        }
        let image = self.place(name);
        let options = scheme
            .recipients
            .iter()
            .flat_map(|recipient| ["--encryption-key".to_owned(), recipient.clone()]);
        let options: Vec<String> = options.collect();
        let home = format!("GNUPGHOME={}", self.gnupg().display());
        skopeo_copy_with(&[home], &options, &plain.transport(), &image.transport())
            .map(|_| image)
            .map_err(|error| error.to_string())
    }

    fn by_go(&self, plain: &Image, name: &str, scheme: &Scheme) -> Result<Image, String> {
        let Some(recipients) = &scheme.judge else {
            return Err("nobody else makes this packet".to_owned());
        };
        let folder = self.scratch.join("images").join(name);
        self.judge_of(scheme).encrypt(plain, &folder, recipients)
    }

    /// `bailiwick image decrypt`.
    pub(crate) fn opens_here(&self, image: &Image, plain: &Image, holder: &Holder) -> Cell {
        same_image(&self.opened(image, holder, &[])?, plain)
    }

    /// The plain image that `bailiwick image decrypt` makes.
    pub(crate) fn opened(
        &self,
        image: &Image,
        holder: &Holder,
        more: &[&str],
    ) -> Result<Image, String> {
        let target = self.target(image);
        let mut words = vec![
            "image".to_owned(),
            "decrypt".into(),
            image.transport(),
            target.transport(),
        ];
        for key in &holder.keys {
            words.extend(["--key".to_owned(), key.clone()]);
        }
        words.extend(more.iter().map(|word| (*word).to_owned()));
        // Who holds a key has no key provider, which would open the image all the same.
        let environment = match holder.provider() {
            Some(_) => self.environment.clone(),
            None => self.tokens.environment(),
        };
        let said = self.program.run_with(words, &borrowed(&environment));
        match said.code {
            0 => Ok(target),
            _ => Err(said.stderr),
        }
    }

    fn opens_for_imgcrypt(&self, image: &Image, plain: &Image, holder: &Holder) -> Cell {
        let folder = tempfile::tempdir_in(self.scratch.path()).unwrap();
        let arguments = match holder.provider() {
            Some(_) => Vec::new(),
            None => {
                for file in holder.keys.iter().map(PathBuf::from) {
                    std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
                }
                let folder = folder.path().display().to_string();
                vec!["--decryption-keys-path".to_owned(), folder]
            }
        };
        let layers = (0..plain.layers().len()).map(|layer| {
            stream_processor(
                self.imgcrypt.program(),
                &arguments,
                &self.environment,
                image,
                layer,
            )
        });
        same(&layers.collect::<Result<Vec<_>, _>>()?, plain)
    }

    /// Another place each time.
    pub(crate) fn target(&self, image: &Image) -> Image {
        let folder = tempfile::tempdir_in(self.scratch.join("images")).unwrap();
        let name = image.layout().folder;
        let name = name.file_name().unwrap().to_str().unwrap();
        Image::at(folder.keep().join(name), "1")
    }
}

impl Holder {
    /// The key provider that this one has, instead of keys.
    pub(crate) fn provider(&self) -> Option<&str> {
        self.keys.first()?.strip_prefix("provider:")
    }
}

fn borrowed(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    let pairs = environment.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn opens_for_skopeo(image: &Image, plain: &Image, holder: &Holder) -> Cell {
    let folder = image.layout().folder;
    let target = folder.with_file_name(format!(
        "{}-{}",
        folder.file_name().unwrap().to_str().unwrap(),
        estate::Digest::of(holder.keys.concat()).to_hex()
    ));
    let target = Image::at(target, "1");
    let options = holder.keys.iter();
    let options = options.flat_map(|key| ["--decryption-key", key]);
    let options: Vec<&str> = options.collect();
    skopeo_copy(&options, &image.transport(), &target.transport())
        .map_err(|error| error.to_string())?;
    same_image(&target, plain)
}

/// Byte for byte; anything else is no refusal but a wrong answer.
pub(crate) fn same_image(image: &Image, plain: &Image) -> Cell {
    assert_eq!(image.layers(), plain.layers(), "other layers came out");
    let layers: Vec<Vec<u8>> = image
        .layers()
        .iter()
        .map(|layer| image.blob(layer))
        .collect();
    same(&layers, plain)
}

pub(crate) fn same(layers: &[Vec<u8>], plain: &Image) -> Cell {
    let wanted: Vec<Vec<u8>> = plain
        .layers()
        .iter()
        .map(|layer| plain.blob(layer))
        .collect();
    assert!(*layers == wanted, "other bytes came out");
    Ok(())
}

/// Byte for byte when unpacked: skopeo packs layers that are not.
pub(crate) fn same_content(image: &Image, plain: &Image) -> Cell {
    let contents = |image: &Image| -> Vec<Vec<u8>> {
        let layers = image.layers();
        layers.iter().map(|layer| unpacked(image, layer)).collect()
    };
    assert!(contents(image) == contents(plain), "other content came out");
    Ok(())
}

fn unpacked(image: &Image, layer: &str) -> Vec<u8> {
    let bytes = image.blob(layer);
    let program = match bytes.as_slice() {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        _ => return bytes,
    };
    let file = std::fs::File::open(image.blob_path(layer)).unwrap();
    let mut unpack = std::process::Command::new(program);
    let output = unpack.arg("-dc").stdin(file).output().unwrap();
    assert!(output.status.success(), "{layer} does not unpack");
    output.stdout
}

/// What comes of it for each of those who may open it.
fn each(scheme: &Scheme, opens: impl Fn(&Holder) -> Cell) -> String {
    let cells = scheme.holders.iter().map(|holder| {
        let who = holder
            .provider()
            .map_or("with a key", |_| "with the provider");
        (who, cell(opens(holder)))
    });
    told_apart(&cells.collect::<Vec<_>>())
}

pub(crate) fn cell(opened: Cell) -> String {
    match opened {
        Ok(()) => "yes".to_owned(),
        Err(words) => refused(&words),
    }
}
