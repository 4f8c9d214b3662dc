//! The interop matrix: what we encrypt opens for peers and in a runtime, and what they encrypt opens for us; for each scheme and
//! each type of layer that somebody knows. Plaintext must be byte-identical.
//!
//! The tables in `docs/why/image-bindings.md` are what these tests find. A peer that can't do its part is a cell that says why;
//! a failure with other words than those in `reasons.rs` ends the test.

mod crew;
mod layers;
mod nodes;
mod reasons;
mod schemes;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use fixture::Table;
use tokio::runtime::Handle;

use crew::Crew;
use schemes::Scheme;

const DOCUMENT: &str = "docs/why/image-bindings.md";
/// As many as CI has cores.
const WORKERS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, containerd, docker-registry, skopeo, umoci, openssl and Go; run by make test"]
async fn every_scheme_between_us_and_every_peer() {
    let crew = Arc::new(Crew::gather("matrix").await);
    let rows = side_by_side(&crew, schemes::all(&crew), |crew, scheme: &Scheme| {
        let cells = crew.row(scheme);
        println!("{}: {}", scheme.name, cells.join(" | "));
        [vec![scheme.name.to_owned()], cells].concat()
    })
    .await;
    show(
        "interop",
        &[&["recipients"][..], &crew::COLUMNS].concat(),
        &rows,
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, containerd, docker-registry, skopeo, umoci, openssl and Go; run by make test"]
async fn every_type_of_layer_between_us_and_every_peer() {
    let crew = Arc::new(Crew::gather("layers").await);
    let rows = side_by_side(&crew, layers::TYPES.to_vec(), |crew, media_type: &&str| {
        let cells = layers::row(crew, media_type);
        println!("{media_type}: {}", cells.join(" | "));
        [vec![format!("`{media_type}`")], cells].concat()
    })
    .await;
    show(
        "layers",
        &[&["layer"][..], &layers::COLUMNS].concat(),
        &rows,
    );
}

fn show(name: &'static str, columns: &[&str], rows: &[Vec<String>]) {
    let mut table = Table::new(name, columns);
    for row in rows {
        table.row(row);
    }
    println!("{}", table.text());
    for cell in rows.iter().flatten() {
        assert!(!cell.contains(reasons::NOBODY_KNOWS), "{cell}");
    }
    table
        .compare(DOCUMENT)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Makes the rows, some at a time; they come back in the order of `items`.
async fn side_by_side<T: Send + Sync + 'static>(
    crew: &Arc<Crew>,
    items: Vec<T>,
    make: impl Fn(&Crew, &T) -> Vec<String> + Send + Sync + Copy + 'static,
) -> Vec<Vec<String>> {
    let count = items.len();
    let waiting: VecDeque<(usize, T)> = items.into_iter().enumerate().collect();
    let waiting = Arc::new(Mutex::new(waiting));
    let done = Arc::new(Mutex::new(vec![Vec::new(); count]));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (crew, waiting, done) = (Arc::clone(crew), Arc::clone(&waiting), Arc::clone(&done));
            tokio::task::spawn_blocking(move || {
                loop {
                    let next = waiting.lock().unwrap().pop_front();
                    let Some((number, item)) = next else { return };
                    let row = make(&crew, &item);
                    done.lock().unwrap()[number] = row;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let done = done.lock().unwrap();
    done.clone()
}

/// Waits on a thread of its own for what is asked of a runtime.
fn wait<T>(future: impl Future<Output = T>) -> T {
    Handle::current().block_on(future)
}
