//! The agent's eyes: its port, over one containerd.

use std::error::Error;
use std::io;
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent::ports::{Probe, ProbeError};
use estate::Digest;
use evidence::WorkloadFacts;
use evidence::request::LayerUse;

use crate::{Containers, MeasureError, NodeGate, RuntimeError, Subject, locate};

/// Measures callers of the kind `S`.
pub struct NodeProbe<S> {
    containers: Containers,
    decoders: Arc<[PathBuf]>,
    gate: Option<NodeGate<S>>,
    callers: PhantomData<fn(S)>,
}

/// A program that is named as a decoder can't be told from others. Fault: the configuration, or whoever removed the file.
#[derive(Debug, thiserror::Error)]
#[error("`{}` can't be used as a decoder's program: {why}", .path.display())]
pub struct DecoderError {
    /// The program.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
}

impl<S> NodeProbe<S> {
    /// Sees what this containerd runs. Image keys are for these programs alone, told by their content: a copy elsewhere is
    /// the same program.
    pub fn new(containers: Containers, decoders: Vec<PathBuf>) -> Self {
        let keeping = containers.keeping.clone();
        Self {
            gate: keeping.map(|keeping| NodeGate::new(containers.clone(), keeping)),
            containers,
            decoders: decoders.into(),
            callers: PhantomData,
        }
    }

    /// Reads the decoders' programs, so that a wrong path is known before a decoder asks and the first need not wait. One that
    /// is replaced is read again when it is needed.
    ///
    /// # Errors
    /// [`DecoderError`], for the first that can't be read.
    pub async fn read_decoders(&self) -> Result<(), DecoderError> {
        for path in self.decoders.iter() {
            let failed = |why: String| DecoderError {
                path: path.clone(),
                why,
            };
            match self.containers.digest_of(path.clone()).await {
                Ok(Some(_)) => {}
                Ok(None) => return Err(failed(NO_PROGRAM.to_owned())),
                Err(error) => return Err(failed(error.to_string())),
            }
        }
        Ok(())
    }
}

impl<S: Subject + 'static> Probe for NodeProbe<S> {
    type Caller = S;
    type Gate = NodeGate<S>;

    fn gate(&self) -> Option<&NodeGate<S>> {
        self.gate.as_ref()
    }

    async fn measure(&self, caller: &S) -> Result<WorkloadFacts, ProbeError> {
        self.containers
            .measure(caller)
            .await
            .map_err(|error| match error {
                MeasureError::Runtime { source } => runtime_failed(source),
                other => ProbeError::Caller(told(&other)),
            })
    }

    async fn layer_uses(&self, layer: Digest) -> Result<Vec<LayerUse>, ProbeError> {
        let uses = self.containers.manifests_listing_layer(layer).await;
        uses.map_err(runtime_failed)
    }

    /// A decoder is root, a child of the very process that answers on the runtime's socket, and a program that is named as one.
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
        let exe = Path::new("/proc").join(pid.to_string()).join("exe");
        let digest =
            self.containers.digest_of(exe).await.map_err(|error| {
                ProbeError::Caller(format!("its program can't be read: {error}"))
            })?;
        if !caller.still_alive() {
            return Err(refused("it has ended"));
        }
        let digest = digest.ok_or_else(|| refused(&format!("its program is {NO_PROGRAM}")))?;
        if !self.containers.is_one_of(digest, &self.decoders).await {
            return Err(refused(
                "its program is none of the decoders that this node's agent is configured with",
            ));
        }
        Ok(digest)
    }
}

const NO_PROGRAM: &str = "no file, too large, or on a file system that can't be trusted";

/// The process that listens on a socket.
fn serving(socket: &Path) -> io::Result<u32> {
    let stream = UnixStream::connect(socket)?;
    let credentials = rustix::net::sockopt::socket_peercred(&stream)?;
    Ok(credentials.pid.as_raw_nonzero().get().cast_unsigned())
}

/// The runtime did not answer, or not as it should.
pub(crate) fn runtime_failed(error: RuntimeError) -> ProbeError {
    ProbeError::Runtime(told(&error))
}

/// An error and its causes in one line.
pub(crate) fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        let status = error.downcast_ref::<tonic::Status>();
        let boxed = error.downcast_ref::<Box<tonic::Status>>();
        match status.or(boxed.map(AsRef::as_ref)) {
            // Its own words repeat what lies below it, in the library's way.
            Some(status) => {
                text.push_str(status.message());
                break;
            }
            None => text.push_str(&error.to_string()),
        }
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

    async fn decoder(
        socket: &Path,
        programs: &[&Path],
        pid: u32,
        uid: u32,
    ) -> Result<Digest, ProbeError> {
        let containers = Containers::new(Config {
            socket: socket.to_owned(),
            platform_mounts: Vec::new(),
            runtime_binaries: Vec::new(),
        });
        let programs = programs.iter().map(|path| path.to_path_buf()).collect();
        let probe: NodeProbe<Caller> = NodeProbe::new(containers.unwrap(), programs);
        probe.decoder(&Caller { pid, uid }).await
    }

    /// This process plays the runtime; its child is whoever asks.
    struct Played {
        folder: tempfile::TempDir,
        socket: PathBuf,
        child: std::process::Child,
        program: Vec<u8>,
        _listener: UnixListener,
    }

    impl Played {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("socket");
            let listener = UnixListener::bind(&socket).unwrap();
            let child = std::process::Command::new("sleep")
                .arg("1000")
                .spawn()
                .unwrap();
            // Until `exec`, the child is a copy of this process.
            let exe = format!("/proc/{}/exe", child.id());
            let own = std::fs::read_link("/proc/self/exe").unwrap();
            while std::fs::read_link(&exe).unwrap() == own {
                std::thread::yield_now();
            }
            let program = std::fs::read(exe).unwrap();
            Self {
                folder,
                socket,
                child,
                program,
                _listener: listener,
            }
        }

        /// A program in a place of its own.
        fn file(&self, name: &str, content: &[u8]) -> PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        }

        async fn ask(&self, programs: &[&Path]) -> Result<Digest, ProbeError> {
            decoder(&self.socket, programs, self.child.id(), 0).await
        }
    }

    impl Drop for Played {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    #[tokio::test]
    async fn a_decoder_is_root_and_a_child_of_whoever_serves_the_socket() {
        let played = Played::start();
        let (child, copy) = (played.child.id(), played.file("decoder", &played.program));
        let programs = [copy.as_path()];

        let digest = played.ask(&programs).await;
        let by_another_user = decoder(&played.socket, &programs, child, 1000).await;
        let no_child = decoder(&played.socket, &programs, std::process::id(), 0).await;
        let no_runtime = decoder(Path::new("/nowhere"), &programs, child, 0).await;

        assert!(digest.is_ok_and(|digest| digest == Digest::of(&played.program)));
        assert!(matches!(by_another_user, Err(ProbeError::Caller(_))));
        assert!(matches!(no_child, Err(ProbeError::Caller(_))));
        assert!(matches!(no_runtime, Err(ProbeError::Runtime(_))));
    }

    #[tokio::test]
    async fn a_child_of_the_runtime_with_another_program_is_no_decoder() {
        let played = Played::start();
        let other = played.file("other", b"a network plug-in, perhaps");
        let missing = played.folder.path().join("missing");
        for programs in [vec![], vec![other.as_path()], vec![missing.as_path()]] {
            let refused = played.ask(&programs).await.unwrap_err().to_string();
            assert!(refused.contains("none of the decoders"), "{refused}");
        }
        let copy = played.file("copy", &played.program);
        let answer = played.ask(&[&missing, &other, &copy]).await;
        assert!(answer.is_ok(), "{answer:?}");
    }

    #[tokio::test]
    async fn a_decoders_program_that_is_replaced_is_read_again() {
        let played = Played::start();
        let path = played.file("decoder", b"of the version before");
        let containers = Containers::new(Config {
            socket: played.socket.clone(),
            platform_mounts: Vec::new(),
            runtime_binaries: Vec::new(),
        });
        let probe: NodeProbe<Caller> = NodeProbe::new(containers.unwrap(), vec![path.clone()]);
        probe.read_decoders().await.unwrap();
        let caller = Caller {
            pid: played.child.id(),
            uid: 0,
        };
        assert!(probe.decoder(&caller).await.is_err());
        let new = played.file("new", &played.program);
        std::fs::rename(new, &path).unwrap();
        assert!(probe.decoder(&caller).await.is_ok());
        std::fs::remove_file(&path).unwrap();
        assert!(probe.decoder(&caller).await.is_err());
        let error = probe.read_decoders().await.unwrap_err();
        assert!(error.to_string().contains("decoder"), "{error}");
    }
}
