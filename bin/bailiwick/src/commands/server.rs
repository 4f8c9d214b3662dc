//! `bailiwick server init|run`.

mod founders;
mod made;

use std::{fs, path::PathBuf, sync::Arc};

use accounts::EstateAccounts;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use estate::Founders;
use founders::FounderFile;
use made::Made;
use rpc::{listener::Door, nodes::NodeService};
use server::{Parts, Server, genesis, keyring, ports::KeyRow};
use store::{Create, SqliteStore};

use crate::{
    advice::Advice,
    config::{self, ServerConfig},
    output::Format,
    system::{SystemClock, SystemEntropy, SystemTicks},
};

/// Makes and runs a server.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    #[command(subcommand)]
    command: ServerCommand,
}

#[derive(Debug, Subcommand)]
enum ServerCommand {
    /// Makes the keys of a trust domain, once, and fixes the founders: the people whose signatures bring the first estate into
    /// force. Prints what clients pin.
    ///
    /// Example: bailiwick server init --founder chen@hospital.example=chen.pub --founder eva@hospital.example=eva.pub
    Init {
        /// The server's configuration.
        #[arg(long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// A lab, for ever: its trust domain ends in `.lab`, and production refuses it.
        #[arg(long)]
        lab: bool,
        /// A person and the file with their SSH public keys, as in `authorized_keys`. They sign the first estate, and later
        /// whatever has no rule of approval. Fixed for ever.
        #[arg(long = "founder", value_name = "PERSON=FILE")]
        founders: Vec<FounderFile>,
        /// How many of the founders must sign. Usually all of one or two, and a majority of more.
        #[arg(long, value_name = "NUMBER")]
        quorum: Option<usize>,
        /// How the result is written.
        #[arg(long, value_enum, default_value_t)]
        output: Format,
    },
    /// Serves nodes and people until it is told to stop.
    ///
    /// Example: bailiwick server run --config /etc/bailiwick/server.toml
    Run {
        /// The server's configuration.
        #[arg(long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
}

/// Runs the command.
pub(crate) async fn run(args: ServerArgs) -> anyhow::Result<()> {
    match args.command {
        ServerCommand::Init {
            config,
            lab,
            founders,
            quorum,
            output,
        } => {
            let founders = founders::read(&founders, quorum)?;
            let made = init(config::read(&config)?, lab, &founders).await?;
            output.print(&made, Made::text)?;
            founders::warn(&founders);
            eprintln!(
                "hint: clients pin `root`; auditors keep `ledger key`. Next: bailiwick server run"
            );
            Ok(())
        }
        ServerCommand::Run { config } => serve(config::read(&config)?).await,
    }
}

async fn init(config: ServerConfig, lab: bool, founders: &Founders) -> anyhow::Result<Made> {
    if lab != config.is_lab() {
        bail!(
            "trust domain `{}` and `--lab` do not fit: a lab's ends in `.lab`, and no other does",
            config.trust_domain
        );
    }
    config.check()?;
    if config.database().exists() {
        let there = format!(
            "trust domain `{}` was made already: `{}` is there",
            config.trust_domain,
            config.database().display()
        );
        return Err(Advice::failed(there, "`bailiwick server run` serves it").error());
    }
    make_private(&config.data)?;
    if let Some(folder) = config.head_folder() {
        make_private(folder)?;
    }
    config.make_salt()?;
    let kek = config.kek()?;
    let (row, seed) = genesis::log_key(&kek, &SystemEntropy, &SystemClock)?;
    let signer = tlog::Signer::from_seed(&origin(&config), &seed)?;
    let ledger_key = signer.verifier_key().to_string();
    let store = SqliteStore::open(config.store(Create::New), signer, Arc::new(SystemClock)).await?;
    let store = Arc::new(store);
    let entropy = Arc::new(SystemEntropy);
    let genesis = genesis::begin(
        Arc::clone(&store),
        &kek,
        row,
        &config.trust_domain,
        founders,
        entropy,
        &SystemClock,
    )
    .await?;
    let root = server::ports::Store::key(store.as_ref(), keyring::ROOT, "")
        .await?
        .context("the root key is missing")?;
    store.close().await;
    let root_file = config.data.join("root.pem");
    fs::write(
        &root_file,
        pem::encode(&pem::Pem::new("CERTIFICATE", root.public)),
    )?;
    fs::write(config.data.join("ledger.key"), format!("{ledger_key}\n"))?;
    Ok(Made::new(
        config.trust_domain.to_string(),
        genesis.pin.to_string(),
        &root_file,
        ledger_key,
        founders,
    ))
}

fn make_private(folder: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("can't make `{}`", folder.display()))
}

async fn serve(config: ServerConfig) -> anyhow::Result<()> {
    config.check()?;
    config.check_head_folder()?;
    let server = build(&config).await?;
    let nodes = listen_for_nodes(&config, &server).await?;
    let mut doors = crate::commands::people::listen(&config, &server).await?;
    tokio::spawn(Arc::clone(&server).sweep_forever());
    tokio::spawn(Arc::clone(&server).keep_time(Arc::new(SystemTicks::begin())));
    tokio::spawn(sweep_orphans_once(Arc::clone(&server)));
    let people = config
        .http
        .map_or_else(String::new, |address| format!(", {address} (people)"));
    eprintln!(
        "serving {} on {} (nodes){people} and {}",
        config.trust_domain,
        config.listen,
        config.socket.display()
    );
    tokio::select! {
        ended = nodes => ended??,
        _ = doors.join_next() => bail!("a door for people closed"),
        () = crate::shutdown() => {}
    }
    eprintln!("stopping");
    server.store().close().await;
    Ok(())
}

/// What a crash or a restored database left; databases that do not answer yet are asked at the next start.
async fn sweep_orphans_once(server: Arc<Server<SqliteStore, EstateAccounts>>) {
    match server.sweep_orphans().await {
        Ok(0) => {}
        Ok(count) => tracing::warn!(count, "orphan database roles were ended"),
        Err(error) => {
            tracing::warn!(error = %server::nodes::chain(&error), "orphan roles were not looked for")
        }
    }
}

/// Loads keys and state; refuses a database that should exist and does not.
async fn build(config: &ServerConfig) -> anyhow::Result<Arc<Server<SqliteStore, EstateAccounts>>> {
    let kek = config.kek()?;
    let rows = SqliteStore::keys_of(&config.store(Create::Existing)).await?;
    let signer = log_signer(config, &kek, &rows)?;
    let ledger_key = signer.verifier_key().to_string();
    let store = SqliteStore::open(
        config.store(Create::Existing),
        signer,
        Arc::new(SystemClock),
    )
    .await?;
    let parts = Parts {
        store: Arc::new(store),
        accounts: EstateAccounts,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        kek,
        trust_domain: config.trust_domain.clone(),
        tenant: config.tenant.clone(),
        lab: config.is_lab(),
        manufacturers: config.manufacturers()?,
        ledger_key,
        quote_interval: config.quote_interval(),
    };
    Ok(Server::build(parts).await?)
}

fn log_signer(
    config: &ServerConfig,
    kek: &custody::Kek,
    rows: &[KeyRow],
) -> anyhow::Result<tlog::Signer> {
    let row = rows
        .iter()
        .find(|row| row.purpose == keyring::LOG)
        .context("the log's key is missing")?;
    let seed = kek
        .unwrap(&row.purpose, &row.name, &row.wrapped)
        .context("the log's key does not unwrap")?;
    let seed: [u8; 32] = seed
        .as_slice()
        .try_into()
        .context("the log's key is damaged")?;
    Ok(tlog::Signer::from_seed(
        &origin(config),
        &zeroize::Zeroizing::new(seed),
    )?)
}

fn origin(config: &ServerConfig) -> String {
    format!("{}/ledger/{}", config.trust_domain, config.tenant)
}

async fn listen_for_nodes(
    config: &ServerConfig,
    server: &Arc<Server<SqliteStore, EstateAccounts>>,
) -> anyhow::Result<tokio::task::JoinHandle<Result<(), tonic::transport::Error>>> {
    let (chain, key) = super::certificate::of_server(config, server)?;
    let root = server.root_der().to_vec();
    let now = Arc::new(|| SystemClock.timestamp());
    let door = Door::new(config.trust_domain.clone(), &root, chain, key, now)?;
    let listener = Door::listen(config.listen).await?;
    let incoming = tokio_stream::wrappers::ReceiverStream::new(door.accept(listener));
    let service = proto::bailiwick::node::v1::nodes_server::NodesServer::new(NodeService::new(
        Arc::clone(server),
    ));
    let serving = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(10)))
        .add_service(service)
        .serve_with_incoming(incoming);
    Ok(tokio::spawn(serving))
}

const DEFAULT_CONFIG: &str = "/etc/bailiwick/server.toml";
