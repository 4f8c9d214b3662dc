//! Attested release in one process: the statement is verified, policy decides, leaf and checkpoint are synced to the disk, and
//! only then the secret is sealed to its reader.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use benches::{Better, Limits, Rounds, Side, alternate, in_memory, introduce, own_cpu, start};
use custody::{KeyDocument, KeyUse, ReleaseInfo, open_release, seal_secret};
use evidence::{
    Statement,
    request::{Canonical, ReadRequest},
};
use ledger::Actor;
use server::{Payload, govern::SealedSecret, ports::Clock};
use test_server::{TestNode, TestServer, as_shipped, files};
use tokio::runtime::Runtime;

type Run<'a> = Side<'a, Figures, anyhow::Error>;

fn main() -> anyhow::Result<()> {
    introduce("release");
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
    ensure!(
        !in_memory(disk)?,
        "`{}` lies in memory, where nothing is synced; build with CARGO_TARGET_DIR on a disk",
        disk.display()
    );
    let _ = tempfile::env::override_temp_dir(disk);
    println!("the peer OpenBao is not run here: only our figures follow, beside the disk's own");
    let runtime = Runtime::new()?;
    let house = runtime.block_on(House::open())?;
    for clients in [1, CLIENTS] {
        let each = runtime.block_on(house.enough(clients))?;
        let sides = vec![
            Run::new("bailiwick", || {
                runtime.block_on(house.releases(clients, each))
            }),
            Run::new("the disk: 4 KiB and fdatasync", || {
                synced(house.server.folder())
            }),
        ];
        let limits = Limits {
            least: 5,
            most: 7,
            time: Duration::from_secs(15),
        };
        show(clients, &alternate(limits, sides)?);
    }
    Ok(())
}

/// What one run gave.
#[derive(Debug, Clone, Copy)]
struct Figures {
    per_second: f64,
    cpu_each: Duration,
    /// 99 of 100 took no longer.
    slow: Duration,
}

fn show(clients: usize, rounds: &Rounds<Figures>) {
    let title = |what: &str| match clients {
        1 => format!("attested release, 1 client, {what}"),
        _ => format!("attested release, {clients} clients, {what}"),
    };
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let rate = rounds.table(&title("rate"), "1/s", Better::More, |run| run.per_second);
    let ours = rounds.ours();
    let cpu = ours.table(&title("processor time each"), "ms", Better::Less, |run| {
        millis(run.cpu_each)
    });
    let slow = ours.table(&title("99th percentile"), "ms", Better::Less, |run| {
        millis(run.slow)
    });
    print!("{rate}{cpu}{slow}");
}

/// A server on the disk, and nodes that may read its secret, each with a session of its own.
struct House {
    server: Arc<TestServer>,
    nodes: Vec<Arc<TestNode>>,
    request: Arc<[u8]>,
}

impl House {
    async fn open() -> anyhow::Result<Self> {
        let server = TestServer::empty().await;
        server.apply(estate()?, false).await?;
        put(&server).await?;
        let mut nodes = Vec::new();
        for number in 0..CLIENTS {
            nodes.push(Arc::new(TestNode::join(&server, &node_name(number)).await));
        }
        let request = ReadRequest {
            v: 1,
            secret: SECRET.parse()?,
        }
        .to_canonical()?;
        Ok(Self {
            server: Arc::new(server),
            nodes,
            request: request.into(),
        })
    }

    /// How many releases each client needs for a run of about a second.
    async fn enough(&self, clients: usize) -> anyhow::Result<usize> {
        let trial = self.releases(clients, 50).await?;
        let each = (trial.per_second / clients as f64) as usize;
        Ok(each.clamp(50, 10_000))
    }

    /// Every client asks one after another. Its statements are made before, since that is the nodes' work.
    async fn releases(&self, clients: usize, each: usize) -> anyhow::Result<Figures> {
        let mut work = Vec::new();
        for node in self.nodes.iter().take(clients) {
            let state = |_| node.state(&self.server, &self.request, Some(as_shipped()));
            work.push((Arc::clone(node), (0..each).map(state).collect::<Vec<_>>()));
        }
        let (began, cpu) = (start(), own_cpu()?);
        let mut running = Vec::new();
        for (node, statements) in work {
            let (server, request) = (Arc::clone(&self.server), Arc::clone(&self.request));
            running.push(tokio::spawn(client(server, node, statements, request)));
        }
        let mut times = Vec::new();
        for client in running {
            times.extend(client.await??);
        }
        let (cpu, wall) = (own_cpu()?.saturating_sub(cpu), began.elapsed());
        figures(times, wall, cpu)
    }
}

/// How long each release took; the last one is opened, to see that it was one.
async fn client(
    server: Arc<TestServer>,
    node: Arc<TestNode>,
    statements: Vec<Statement>,
    request: Arc<[u8]>,
) -> anyhow::Result<Vec<Duration>> {
    let (mut times, mut last) = (Vec::with_capacity(statements.len()), None);
    for statement in &statements {
        let began = start();
        let answer = server
            .server
            .read(&node.session, statement, &request)
            .await?;
        times.push(began.elapsed());
        last = Some(answer);
    }
    let answer = last.context("nothing was released")?;
    let Payload::Sealed { enc, ct, .. } = &answer.payload else {
        bail!("what was released is not sealed");
    };
    let leaf = &answer.commitment.leaf;
    let opened = open_release(&node.requester, ReleaseInfo::Read, &request, leaf, enc, ct)?;
    ensure!(opened.as_slice() == VALUE, "another secret was released");
    Ok(times)
}

/// A floor, not a peer: what a file that is written and synced once for each answer would give.
fn synced(folder: &Path) -> anyhow::Result<Figures> {
    let mut file = File::create(folder.join("synced"))?;
    let (began, cpu) = (start(), own_cpu()?);
    let mut times = Vec::new();
    while began.elapsed() < Duration::from_secs(1) {
        let one = start();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(one.elapsed());
    }
    figures(times, began.elapsed(), own_cpu()?.saturating_sub(cpu))
}

fn figures(mut times: Vec<Duration>, wall: Duration, cpu: Duration) -> anyhow::Result<Figures> {
    times.sort_unstable();
    let count = times.len();
    let slow = times.get(count * 99 / 100).or(times.last());
    Ok(Figures {
        per_second: count as f64 / wall.as_secs_f64(),
        cpu_each: cpu.div_f64(count.max(1) as f64),
        slow: *slow.context("nothing was done")?,
    })
}

/// The tests' estate with more nodes, and a rule that lets their workloads read.
fn estate() -> anyhow::Result<Vec<(String, String)>> {
    let mut files = files();
    let mut add = |name: &str, text: &str| {
        let file = files.iter_mut().find(|(path, _)| path == name);
        file.map(|(_, file)| file.push_str(text))
            .with_context(|| format!("the estate has no `{name}`"))
    };
    for number in 0..CLIENTS {
        let node = node_name(number);
        let place = "cluster = \"hipaaCluster\"\nlocation = \"DAL05\"\nattest = \"join-token\"";
        add("inventory.toml", &format!("\n[node.{node}]\n{place}\n"))?;
    }
    add("policies/records.cedar", READ_RULE)?;
    Ok(files)
}

/// Seals a secret as the command line does, and puts it.
async fn put(house: &TestServer) -> anyhow::Result<()> {
    let (signed, _) = house
        .server
        .dataset_key_document(&"records".parse()?, Actor::LocalRoot)
        .await?;
    let now = house.clock.now();
    let document = KeyDocument::verify(&signed, KeyUse::Dataset, house.pin().parse()?, now)?;
    let row = seal_secret(&document, &SECRET.parse()?, 1, VALUE, "bench")?;
    let sealed = SealedSecret {
        version: 1,
        dataset: row.dataset,
        suite: row.suite,
        key_id: row.key_id.to_string(),
        enc: STANDARD.encode(&row.enc),
        ct: STANDARD.encode(&row.ct),
    };
    let _ = house
        .server
        .put_secret(&SECRET.parse()?, sealed, Actor::LocalRoot)
        .await?;
    Ok(())
}

fn node_name(number: usize) -> String {
    format!("bench-n{number}")
}

const CLIENTS: usize = 16;
const SECRET: &str = "records/token";
const VALUE: &[u8] = b"a password of thirty-two letters";
const READ_RULE: &str = r#"
@id("records-read")
permit (principal in ImageSet::"medrec", action == Action::"read", resource in DataSet::"records")
when { principal in Location::"DAL05" };
"#;
