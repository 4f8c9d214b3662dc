//! How far the work has come, for whoever watches.

/// Is told how far the work has come, and can end it; called from several threads.
pub trait Progress: Sync {
    /// The work begins and will read about `total` bytes.
    fn started(&self, total: u64);

    /// `bytes` more were read.
    fn advanced(&self, bytes: u64);

    /// Whether somebody wants the work to end. It then ends with an error and cleans up behind itself, which a program
    /// that exits in the middle does not.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn started(&self, _total: u64) {}

    fn advanced(&self, _bytes: u64) {}
}
