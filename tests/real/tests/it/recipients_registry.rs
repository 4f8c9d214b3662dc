//! Recipients of an image on a real registry: what goes over the line, and whom the image opens for afterwards.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fixture::{Recipe, Registry, Scratch};
use real::keys::{KeyPair, P256, RSA};
use real::peers::skopeo_copy;
use real::{Image, Program};
use serde_json::Value;

/// Stands between the program and the registry and counts the bytes of both directions.
struct Counter {
    port: u16,
    bytes: Arc<AtomicU64>,
}

impl Counter {
    fn before(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, address) = (listener.local_addr().unwrap().port(), registry.address());
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&address).unwrap());
                let (back_from, back_to) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap());
                let (there, back) = (Arc::clone(&counted), Arc::clone(&counted));
                thread::spawn(move || carry(client, server, &there));
                thread::spawn(move || carry(back_from, back_to, &back));
            }
        });
        Self { port, bytes }
    }

    fn place(&self, name: &str) -> String {
        format!("docker://127.0.0.1:{}/{name}", self.port)
    }

    /// The bytes since the last time.
    fn taken(&self) -> u64 {
        self.bytes.swap(0, Ordering::SeqCst)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    let mut next = || -> io::Result<usize> {
        let read = from.read(&mut buffer)?;
        count.fetch_add(read as u64, Ordering::SeqCst);
        to.write_all(&buffer[..read])?;
        Ok(read)
    };
    while next().is_ok_and(|read| read > 0) {}
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
#[ignore = "needs root, skopeo, umoci, openssl and docker-registry; run by make test"]
fn recipients_of_an_image_on_a_registry_change_without_its_layers() {
    let scratch = Scratch::new("recipients").unwrap();
    let recipe =
        Recipe::busybox("plain")
            .layer()
            .text("/etc/motd", "welcome\n".repeat(2_000), 0o644);
    let plain = Image::from(&recipe.build(&scratch).unwrap());
    let registry = Registry::start(&scratch).unwrap();
    let (program, counter) = (Program::find(), Counter::before(&registry));
    let ann = KeyPair::make(scratch.path(), "ann", P256);
    let bob = KeyPair::make(scratch.path(), "bob", RSA);
    let image = counter.place("team/app:1");
    let run = |words: &[&str]| program.run(["image"].iter().chain(words));
    let to = |key: &KeyPair| key.recipient();
    let _ = run(&[
        "encrypt",
        &plain.transport(),
        &image,
        "--recipient",
        &to(&ann),
    ])
    .well();
    let size: u64 = plain
        .layers()
        .iter()
        .map(|layer| plain.blob(layer).len() as u64)
        .sum();
    let all = counter.taken();
    assert!(all > size && size > 300_000, "{all} of {size}");

    // Another tool's fetch, past our own code: does the image open for this key?
    let opens = |key: &KeyPair, name: &str| {
        let there = Image::at(scratch.join(name), "1");
        let from = format!("docker://{}", registry.reference("team/app:1"));
        let keys = ["--decryption-key", key.private()];
        let opened = skopeo_copy(&keys, &from, &there.transport()).is_ok();
        opened && there.layers() == plain.layers()
    };
    assert!(opens(&ann, "1") && !opens(&bob, "2"));

    let changes: [(&[&str], bool, bool); 4] = [
        (
            &[
                "add",
                &image,
                "--recipient",
                &to(&bob),
                "--key",
                ann.private(),
                "--dry-run",
            ],
            true,
            false,
        ),
        (
            &[
                "add",
                &image,
                "--recipient",
                &to(&bob),
                "--key",
                ann.private(),
            ],
            true,
            true,
        ),
        (&["remove", &image, "jwe#0", "--dry-run"], true, true),
        (&["remove", &image, "jwe#0"], false, true),
    ];
    for (number, (words, for_ann, for_bob)) in changes.into_iter().enumerate() {
        let answer = run(&[&["recipients"], words, &["--output", "json"]].concat()).well();
        let taken = counter.taken();
        assert!(taken < 100_000, "{words:?} moved {taken} bytes");
        assert_eq!(answer.json()["layers"], 2, "{answer:?}");
        let (one, two) = (format!("ann-{number}"), format!("bob-{number}"));
        assert_eq!(
            (opens(&ann, &one), opens(&bob, &two)),
            (for_ann, for_bob),
            "{words:?}"
        );
    }
    let listed: Value = run(&["recipients", "list", &image, "--output", "json"])
        .well()
        .json();
    let recipients = &listed[0]["layers"][0]["recipients"];
    assert_eq!(recipients.as_array().unwrap().len(), 1, "{listed}");

    // New keys: all of it moves, and what was kept of the former keys opens nothing.
    let rekeyed = counter.place("team/app:2");
    let _ = counter.taken();
    let words = [
        "rekey",
        &image,
        &rekeyed,
        "--key",
        bob.private(),
        "--recipient",
        &to(&ann),
    ];
    let _ = run(&words).well();
    assert!(counter.taken() > size);
    assert_eq!(run(&["verify", &rekeyed, "--key", bob.private()]).code, 3);
    let _ = run(&["verify", &rekeyed, "--key", ann.private()]).well();
    // New places: read once, and not sent again.
    let _ = counter.taken();
    let bound = counter.place("team/app:3");
    let words = [
        "rebind",
        &rekeyed,
        &bound,
        "--key",
        ann.private(),
        "--recipient",
        &to(&bob),
    ];
    let _ = run(&words).well();
    let taken = counter.taken();
    assert!(taken < size + size / 2, "{taken} of {size}");
    let _ = run(&["verify", &bound, "--key", bob.private()]).well();
    // In one repository the readable layers stay, which is said.
    let there = counter.place("team/plain:1");
    skopeo_copy(
        &[] as &[&str],
        &plain.transport(),
        &format!("docker://{}", registry.reference("team/plain:1")),
    )
    .unwrap();
    let beside = counter.place("team/plain:2");
    let said = run(&["encrypt", &there, &beside, "--recipient", &to(&ann)]).well();
    assert!(said.stderr.contains("plain layers stay in"), "{said:?}");
}
