//! Image tools of others, asked the same questions.

use std::path::Path;
use std::process::{Command, Stdio};

use fixture::{FixtureError, Image, run};
use serde_json::{Map, Value, json};

use crate::judge::Judge;

/// `skopeo copy`, with its options.
///
/// # Errors
/// skopeo's words.
pub fn skopeo_copy<S: AsRef<str>>(
    options: &[S],
    from: &str,
    to: &str,
) -> Result<String, FixtureError> {
    skopeo_copy_with(&[], options, from, to)
}

/// The same, with variables as `NAME=value`.
///
/// # Errors
/// skopeo's words.
pub fn skopeo_copy_with<S: AsRef<str>>(
    environment: &[String],
    options: &[S],
    from: &str,
    to: &str,
) -> Result<String, FixtureError> {
    let environment = environment.iter().map(String::as_str);
    let words = [
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ];
    let options = options.iter().map(AsRef::as_ref);
    let words = words.into_iter().chain(options).chain([from, to]);
    run("env", environment.chain(words))
}

/// Go's ocicrypt as `judge-ocicrypt` and `judge-pkcs11` ask it.
#[derive(Clone, Debug)]
pub struct Ocicrypt {
    judge: Judge,
    /// Variables such as `OCICRYPT_KEYPROVIDER_CONFIG`.
    environment: Vec<(String, String)>,
}

impl Ocicrypt {
    /// Builds it.
    #[must_use]
    pub fn build(environment: Vec<(String, String)>) -> Self {
        Self {
            judge: Judge::build("judge-ocicrypt"),
            environment,
        }
    }

    /// The one that loads the modules of tokens; its questions have members of their own.
    #[must_use]
    pub fn with_tokens(environment: Vec<(String, String)>) -> Self {
        Self {
            judge: Judge::build_with_cgo(".", "./cmd/judge-pkcs11", "judge-pkcs11"),
            environment,
        }
    }

    /// The image with each layer encrypted; `recipients` are members of the judge's question.
    ///
    /// # Errors
    /// The judge's words.
    pub fn encrypt(
        &self,
        plain: &Image,
        target: &Path,
        recipients: &Map<String, Value>,
    ) -> Result<Image, String> {
        let image = plain.copy_to(target);
        let mut manifest = image.manifest();
        let output = target.join("sealed");
        for layer in manifest["layers"].as_array_mut().unwrap() {
            let plain = image.blob_path(layer["digest"].as_str().unwrap());
            let mut question = json!({
                "op": "encrypt", "layer": plain, "output": output, "media_type": layer["mediaType"],
            });
            merge(&mut question, recipients);
            let answer = self.ask(&question)?;
            let blob = image.put(&std::fs::read(&output).unwrap());
            let media_type = format!("{}+encrypted", layer["mediaType"].as_str().unwrap());
            *layer = json!({
                "mediaType": media_type, "digest": blob.digest, "size": blob.size,
                "annotations": answer["annotations"],
            });
            let _ = std::fs::remove_file(plain);
        }
        let _ = std::fs::remove_file(output);
        image.set_manifest(&manifest);
        Ok(image)
    }

    /// The plain bytes of each layer; `keys` are members of the judge's question.
    ///
    /// # Errors
    /// The judge's words.
    pub fn decrypt(
        &self,
        image: &Image,
        keys: &Map<String, Value>,
    ) -> Result<Vec<Vec<u8>>, String> {
        let manifest = image.manifest();
        let output = image.layout().folder.join("opened");
        let layers = manifest["layers"].as_array().unwrap().iter().map(|layer| {
            let mut question = json!({
                "op": "decrypt", "layer": image.blob_path(layer["digest"].as_str().unwrap()), "output": output,
                "media_type": layer["mediaType"], "annotations": layer["annotations"],
            });
            merge(&mut question, keys);
            self.ask(&question)?;
            Ok(std::fs::read(&output).unwrap())
        });
        let layers = layers.collect();
        let _ = std::fs::remove_file(output);
        layers
    }

    /// Any other question.
    ///
    /// # Errors
    /// The judge's words.
    pub fn ask(&self, question: &Value) -> Result<Value, String> {
        self.judge.ask_with(question, &self.environment)
    }
}

fn merge(question: &mut Value, more: &Map<String, Value>) {
    let question = question.as_object_mut().unwrap();
    question.extend(
        more.iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
}

/// A stream processor, started as containerd starts one: payload on descriptor 3, the layer's bytes through pipes.
///
/// # Errors
/// What it said when it failed.
pub fn stream_processor(
    program: &Path,
    arguments: &[String],
    environment: &[(String, String)],
    image: &Image,
    layer: usize,
) -> Result<Vec<u8>, String> {
    let descriptor = &image.manifest()["layers"][layer];
    let json = json!({"DecryptConfig": {"Parameters": null}, "Descriptor": descriptor}).to_string();
    let payload = image.layout().folder.join("payload");
    std::fs::write(&payload, any(json.as_bytes())).unwrap();
    let ciphertext = std::fs::File::open(image.blob_path(descriptor["digest"].as_str().unwrap()));
    let output = Command::new("/bin/sh")
        .args(["-c", r#"exec 3<"$1" && shift && exec "$@""#, "sh"])
        .arg(&payload)
        .arg(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env(
            "STREAM_PROCESSOR_MEDIATYPE",
            descriptor["mediaType"].as_str().unwrap(),
        )
        .envs(environment.iter().cloned())
        .stdin(ciphertext.unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// protobuf's `Any` around imgcrypt's payload.
fn any(json: &[u8]) -> Vec<u8> {
    const TYPE: &[u8] = b"io.containerd.ocicrypt.v1.Payload";
    let mut bytes = vec![0x0a, TYPE.len() as u8];
    bytes.extend_from_slice(TYPE);
    bytes.push(0x12);
    let mut length = json.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(json);
    bytes
}
