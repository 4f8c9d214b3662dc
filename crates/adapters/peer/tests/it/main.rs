//! Real processes at the other end of a real socket.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use peer::{Binding, Peer, PeerError, Process};
use tempfile::TempDir;

#[test]
fn a_socket_pair_names_this_process() {
    let (here, _there) = UnixStream::pair().unwrap();
    let peer = Peer::of(&here).unwrap();
    assert_eq!(peer.pid(), std::process::id());
    assert_eq!(peer.uid(), rustix::process::geteuid().as_raw());
    assert_eq!(peer.gid(), rustix::process::getegid().as_raw());
    assert!(peer.still_alive());
    assert!(peer.process().cgroup().unwrap().path().starts_with('/'));
    let parent = peer.process().parent().unwrap();
    assert_eq!(parent.pid(), std::os::unix::process::parent_id());
}

#[test]
fn a_live_helper_is_seen_as_itself() {
    let helper = Helper::connected();
    let peer = Peer::of(&helper.stream).unwrap();
    assert_eq!(peer.pid(), helper.child.id());
    assert_eq!(peer.process().parent().unwrap().pid(), std::process::id());
    let mut running = Vec::new();
    peer.process()
        .open_exe()
        .unwrap()
        .read_to_end(&mut running)
        .unwrap();
    assert!(running == std::fs::read(std::env::current_exe().unwrap()).unwrap());
    assert!(
        peer.process().start_time().unwrap()
            >= Process::open(std::process::id())
                .unwrap()
                .start_time()
                .unwrap()
    );
    helper.end();
}

#[test]
fn a_peer_that_ends_is_gone_while_it_waits_to_be_reaped() {
    let mut helper = Helper::connected();
    let peer = Peer::of(&helper.stream).unwrap();
    helper.stop_without_reaping();
    assert!(!peer.still_alive());
    assert!(matches!(peer.process().open_exe(), Err(PeerError::Gone)));
    assert!(matches!(peer.process().cgroup(), Err(PeerError::Gone)));
    assert!(matches!(peer.process().parent(), Err(PeerError::Gone)));
    assert!(
        matches!(Peer::of(&helper.stream), Err(PeerError::Gone)),
        "a zombie is nobody"
    );
    helper.child.wait().unwrap();
}

#[test]
fn a_reaped_peer_is_gone() {
    let mut helper = Helper::connected();
    let peer = Peer::of(&helper.stream).unwrap();
    helper.stop_without_reaping();
    helper.child.wait().unwrap();
    assert!(!peer.still_alive());
    assert!(matches!(peer.process().start_time(), Err(PeerError::Gone)));
    assert!(matches!(Peer::of(&helper.stream), Err(PeerError::Gone)));
    assert!(matches!(
        Process::open(helper.child.id()),
        Err(PeerError::Gone)
    ));
}

#[test]
fn a_process_that_ends_during_a_look_yields_nothing() {
    let mut helper = Helper::connected();
    let peer = Peer::of(&helper.stream).unwrap();
    let seen = peer.process().look("exe", |proc| {
        let seen = std::fs::read_link(proc.join("exe"))?;
        helper.stop_without_reaping();
        Ok(seen)
    });
    assert!(matches!(seen, Err(PeerError::Gone)));
    helper.child.wait().unwrap();
}

#[test]
fn a_process_opened_by_number_is_marked_weaker() {
    assert_eq!(
        Process::open(std::process::id()).unwrap().binding(),
        Binding::ByNumber
    );
    assert!(matches!(Process::open(u32::MAX), Err(PeerError::Gone)));
    assert!(matches!(Process::open(0), Err(PeerError::Gone)));
}

#[test]
fn a_socket_without_a_peer_is_refused() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(matches!(
        Peer::of(&socket),
        Err(PeerError::NoPeer { .. } | PeerError::Gone)
    ));
}

/// Not a test: the other process. It connects, says a byte, and waits until its input ends.
#[test]
#[ignore = "started by the other tests"]
fn helper() {
    let Ok(path) = std::env::var("PEER_TEST_SOCKET") else {
        return;
    };
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"1").unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

struct Helper {
    child: Child,
    stream: UnixStream,
    _folder: TempDir,
}

impl Helper {
    fn connected() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "helper"])
            .env("PEER_TEST_SOCKET", &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0]).unwrap();
        Self {
            child,
            stream,
            _folder: folder,
        }
    }

    /// Ends the helper and returns when it is a zombie.
    fn stop_without_reaping(&mut self) {
        self.child.kill().unwrap();
        let pid = rustix::process::Pid::from_child(&self.child);
        let ended = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), ended).unwrap();
    }

    fn end(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
