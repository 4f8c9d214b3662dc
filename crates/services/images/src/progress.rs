//! How far the work has come, for whoever watches.

/// Is told how far the work has come; called from several threads.
pub trait Progress: Sync {
    /// The work begins and will read about `total` bytes.
    fn started(&self, total: u64);

    /// `bytes` more were read.
    fn advanced(&self, bytes: u64);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn started(&self, _total: u64) {}

    fn advanced(&self, _bytes: u64) {}
}
