//! A cable between node and server that can be cut.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes connections on until it is cut; what comes after a cut is passed on again.
pub(crate) struct Wire {
    pub(crate) address: String,
    accepted: Arc<AtomicUsize>,
    cuts: watch::Sender<u64>,
}

impl Wire {
    pub(crate) async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (server, accepted, cuts) = (
            server.to_owned(),
            Arc::new(AtomicUsize::new(0)),
            watch::Sender::new(0),
        );
        let (count, cut) = (Arc::clone(&accepted), cuts.subscribe());
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let (server, mut cut) = (server.clone(), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self {
            address,
            accepted,
            cuts,
        }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn cut(&mut self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}
