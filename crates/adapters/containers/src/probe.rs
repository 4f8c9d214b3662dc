//! The agent's eyes: its port, over one containerd.

use std::error::Error;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use agent::ports::{Probe, ProbeError};
use estate::Digest;
use evidence::WorkloadFacts;
use evidence::request::LayerUse;

use crate::{Containers, MeasureError, Subject, locate};

/// Measures callers of the kind `S`.
pub struct NodeProbe<S> {
    containers: Containers,
    callers: PhantomData<fn(S)>,
}

impl<S> NodeProbe<S> {
    /// Sees what this containerd runs.
    pub fn new(containers: Containers) -> Self {
        Self {
            containers,
            callers: PhantomData,
        }
    }
}

impl<S: Subject + 'static> Probe for NodeProbe<S> {
    type Caller = S;

    async fn measure(&self, caller: &S) -> Result<WorkloadFacts, ProbeError> {
        self.containers
            .measure(caller)
            .await
            .map_err(|error| match error {
                MeasureError::Runtime { source } => ProbeError::Runtime(told(&source)),
                other => ProbeError::Caller(told(&other)),
            })
    }

    async fn layer_uses(&self, layer: Digest) -> Result<Vec<LayerUse>, ProbeError> {
        let uses = self.containers.manifests_listing_layer(layer).await;
        uses.map_err(|error| ProbeError::Runtime(told(&error)))
    }

    /// A decoder is root and a child of the very process that answers on the runtime's socket.
    async fn decoder(&self, caller: &S) -> Result<Digest, ProbeError> {
        let refused = |why: &str| ProbeError::Caller(why.to_owned());
        if caller.uid() != 0 {
            return Err(refused("only root may ask for image keys"));
        }
        let runtime = serving(&self.containers.config.socket).map_err(|error| {
            ProbeError::Runtime(format!("its socket can't be reached: {error}"))
        })?;
        let pid = caller.pid();
        if locate::parent(pid) != Some(runtime) {
            return Err(refused(
                "only the runtime's own children may ask for image keys",
            ));
        }
        let hashes = Arc::clone(&self.containers.hashes);
        let hashed = tokio::task::spawn_blocking(move || {
            let exe = File::open(Path::new("/proc").join(pid.to_string()).join("exe"))?;
            hashes.of_host_file(&exe)
        });
        let digest = hashed
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| ProbeError::Caller(format!("its program can't be read: {error}")))?;
        if !caller.still_alive() {
            return Err(refused("it has ended"));
        }
        digest.ok_or_else(|| {
            refused("its program is too large, or on a file system that can't be trusted")
        })
    }
}

/// The process that listens on a socket.
fn serving(socket: &Path) -> io::Result<u32> {
    let stream = UnixStream::connect(socket)?;
    let credentials = rustix::net::sockopt::socket_peercred(&stream)?;
    Ok(credentials.pid.as_raw_nonzero().get().cast_unsigned())
}

/// An error and its causes in one line.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::Config;

    struct Caller {
        pid: u32,
        uid: u32,
    }

    impl Subject for Caller {
        fn pid(&self) -> u32 {
            self.pid
        }

        fn uid(&self) -> u32 {
            self.uid
        }

        fn cgroup(&self) -> io::Result<String> {
            Ok("/".into())
        }

        fn still_alive(&self) -> bool {
            true
        }
    }

    async fn decoder(socket: &Path, pid: u32, uid: u32) -> Result<Digest, ProbeError> {
        let containers = Containers::new(Config {
            socket: socket.to_owned(),
            platform_mounts: Vec::new(),
            runtime_binaries: Vec::new(),
        });
        let probe: NodeProbe<Caller> = NodeProbe::new(containers.unwrap());
        probe.decoder(&Caller { pid, uid }).await
    }

    #[tokio::test]
    async fn a_decoder_is_root_and_a_child_of_whoever_serves_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        // This process plays the runtime.
        let _listener = UnixListener::bind(&socket).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let program = std::fs::read(format!("/proc/{}/exe", child.id())).unwrap();

        let digest = decoder(&socket, child.id(), 0).await;
        let by_another_user = decoder(&socket, child.id(), 1000).await;
        let no_child = decoder(&socket, std::process::id(), 0).await;
        let no_runtime = decoder(Path::new("/nowhere"), child.id(), 0).await;
        child.kill().unwrap();
        child.wait().unwrap();

        assert!(digest.is_ok_and(|digest| digest == Digest::of(program)));
        assert!(matches!(by_another_user, Err(ProbeError::Caller(_))));
        assert!(matches!(no_child, Err(ProbeError::Caller(_))));
        assert!(matches!(no_runtime, Err(ProbeError::Runtime(_))));
    }
}
