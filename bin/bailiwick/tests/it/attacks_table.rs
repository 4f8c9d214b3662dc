//! The attack table: whoever may write the registry, a layout or an archive tries each of these on the program, and gets nothing.
//!
//! The table in `docs/why/image-bindings.md` is what this test finds.

mod bench;
mod leash;
mod rows;

use std::sync::Mutex;

use fixture::Table;

use bench::{Attack, Bench, Source, Start};
use leash::{Ended, on_a_leash};

const COLUMNS: [&str; 5] = [
    "attack",
    "image decrypt",
    "image verify",
    "decoder",
    "what protects",
];

/// Less than the usual limit: the program under test is not optimised.
const LARGEST: &str = "64MiB";

#[test]
fn every_attack_is_refused_and_the_document_says_so() {
    let bench = Bench::set();
    honest_images_open(&bench);
    let mut table = Table::new("attacks", &COLUMNS);
    for (number, attack) in rows::all().iter().enumerate() {
        let source = bench.forge(attack, number);
        let cells = [
            decrypt(&bench, attack, &source, number),
            verify(&bench, attack, &source),
            decoder(&bench, attack, &source),
        ];
        println!("{}: {}", attack.name, cells.join(" | "));
        let [decrypt, verify, decoder] = cells;
        table.row(&[attack.name, &decrypt, &verify, &decoder, attack.protects]);
        bench.sweep(number);
    }
    println!("{}", table.text());
    let complaints = COMPLAINTS.lock().unwrap().join("\n");
    assert!(complaints.is_empty(), "{complaints}");
    table
        .compare("docs/why/image-bindings.md")
        .unwrap_or_else(|error| panic!("{error}"));
}

/// What is refused below is refused for what was changed.
fn honest_images_open(bench: &Bench) {
    for image in [&bench.bound, &bench.unbound] {
        let source = Source::Image(image.clone());
        let target = bench.place("honest");
        let ended = image_command(bench, "decrypt", &source, &[&target]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(bench.is_readable(&bench.folder().join("honest")));
        std::fs::remove_dir_all(bench.folder().join("honest")).unwrap();
        let ended = image_command(bench, "verify", &source, &[]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for layer in 0..image.layers().len() {
            let ended = bench.decode(image, layer);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            assert!(ended.stdout == bench.plain_layer(layer), "layer {layer}");
        }
    }
}

fn image_command(bench: &Bench, operation: &str, source: &Source, more: &[&str]) -> Ended {
    let (key, source) = (bench.key_file(), source.name());
    let words = ["image", operation, &source];
    let options = ["--key", &key, "--max-unpacked-size", LARGEST];
    let words = [&words[..], more, &options].concat();
    on_a_leash(&words, &[], None)
}

fn decrypt(bench: &Bench, attack: &Attack, source: &Source, number: usize) -> String {
    let target = format!("target-{number}");
    let ended = image_command(bench, "decrypt", source, &[&bench.place(&target)]);
    let folder = bench.folder().join(&target);
    if folder.join("index.json").exists() {
        complain(format!("{}: the image was published", attack.name));
    }
    if bench.is_readable(&folder) {
        complain(format!("{}: plaintext was left behind", attack.name));
    }
    refused(bench, attack, &ended)
}

fn verify(bench: &Bench, attack: &Attack, source: &Source) -> String {
    refused(bench, attack, &image_command(bench, "verify", source, &[]))
}

/// Denied or broken, told apart, with a reason, and without a word of the plaintext.
fn refused(bench: &Bench, attack: &Attack, ended: &Ended) -> String {
    well_behaved(attack, ended);
    assert!(!bench.reveals(&ended.stdout), "{}", attack.name);
    match ended.code {
        Some(code @ (1 | 4)) => format!("refused ({code})"),
        code => {
            complain(format!("{}: ended with {code:?}: {ended:?}", attack.name));
            format!("ended with {code:?}")
        }
    }
}

/// What is wrong is told when all of the table is there.
static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn complain(complaint: String) {
    COMPLAINTS.lock().unwrap().push(complaint);
}

fn well_behaved(attack: &Attack, ended: &Ended) {
    let said = &ended.stderr;
    let words: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if ended.code != Some(0) && !attack.says.iter().any(|says| words.contains(says)) {
        complain(format!(
            "{}: not for what was changed: {ended:?}",
            attack.name
        ));
    }
    for panic in [
        "panicked",
        "RUST_BACKTRACE",
        "memory allocation",
        "overflow",
    ] {
        assert!(!said.contains(panic), "{}: {said}", attack.name);
    }
    assert!(said.len() < 4096, "{}: {} bytes", attack.name, said.len());
}

/// A decoder that refuses may have passed on what came before, since a runtime throws it away; never the layer's end.
fn decoder(bench: &Bench, attack: &Attack, source: &Source) -> String {
    let (Source::Image(image), Some(layer)) = (source, attack.layer) else {
        return "does not apply".to_owned();
    };
    let ended = bench.decode(image, layer);
    well_behaved(attack, &ended);
    let plain = bench.plain_layer(layer);
    match (ended.code, ended.stdout.is_empty()) {
        (Some(1), true) => "refused".to_owned(),
        (Some(1), false) => {
            let released = ended.stdout.len();
            if released >= plain.len() || attack.start != Start::Bound {
                complain(format!("{}: {released} bytes were released", attack.name));
            }
            "refused before the end".to_owned()
        }
        (Some(0), _) => {
            if attack.start != Start::Bound || !bench.is_genuine(&ended.stdout) {
                complain(format!("{}: the decoder opened it", attack.name));
            }
            "opens alone".to_owned()
        }
        (code, _) => {
            complain(format!("{}: ended with {code:?}: {ended:?}", attack.name));
            format!("ended with {code:?}")
        }
    }
}
