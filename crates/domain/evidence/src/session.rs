//! One mutual-TLS connection of a node: what a statement is bound to.

use std::sync::{Mutex, PoisonError};

use estate::NodeName;

/// What TLS says about a connection.
#[derive(Debug, Clone)]
pub struct SessionKeys {
    /// The node named by the client certificate.
    pub node: NodeName,
    /// 32 bytes of TLS exporter under [`EXPORTER_LABEL`]: no round trip, useless on any other connection.
    pub exporter: [u8; 32],
}

/// Label of the TLS exporter that statements carry as `eat_nonce`.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-bailiwick-measurement-v1";

/// A connection and the sequence numbers used on it.
#[derive(Debug)]
pub struct Session {
    keys: SessionKeys,
    window: Mutex<Window>,
}

impl Session {
    /// A fresh connection: no sequence number used yet.
    pub fn new(keys: SessionKeys) -> Self {
        Self {
            keys,
            window: Mutex::new(Window { newest: 0, seen: 0 }),
        }
    }

    /// The node at the other end.
    pub fn node(&self) -> &NodeName {
        &self.keys.node
    }

    pub(crate) fn exporter(&self) -> &[u8; 32] {
        &self.keys.exporter
    }

    /// Uses up `seq`; `false` when it was used before or is too old to tell.
    pub(crate) fn take(&self, seq: u64) -> bool {
        self.window
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(seq)
    }
}

/// Numbers are handed out rising, but requests that share a connection overtake each other: so each number counts
/// once within the newest 128, and anything older is refused (as IPsec and DTLS do).
#[derive(Debug)]
struct Window {
    newest: u64,
    seen: u128,
}

impl Window {
    fn take(&mut self, seq: u64) -> bool {
        if seq == 0 {
            return false;
        }
        if seq > self.newest {
            let ahead = seq - self.newest;
            self.seen = if ahead >= 128 { 0 } else { self.seen << ahead };
            self.seen |= 1;
            self.newest = seq;
            return true;
        }
        let behind = self.newest - seq;
        if behind >= 128 || self.seen & (1 << behind) != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_once_in_any_order() {
        let mut window = Window { newest: 0, seen: 0 };
        for seq in [1, 3, 2, 130, 4] {
            assert!(window.take(seq), "{seq}");
        }
        for seq in [0, 1, 2, 3, 4, 130] {
            assert!(!window.take(seq), "{seq}");
        }
    }

    #[test]
    fn a_number_older_than_the_window_is_refused_though_unused() {
        let mut window = Window { newest: 0, seen: 0 };
        assert!(window.take(1000));
        assert!(window.take(873));
        assert!(!window.take(872));
    }
}
