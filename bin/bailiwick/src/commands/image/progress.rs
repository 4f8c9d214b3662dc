//! How far the work has come: a bar on a terminal, nothing elsewhere; Ctrl-C ends it in good order.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use images::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar on a terminal; on Ctrl-C the work is told to stop, so that nothing half-written stays.
pub(super) fn progress(what: &'static str) -> Box<dyn Progress> {
    thread::spawn(|| {
        let waiting = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(waiting) = waiting {
            waiting.block_on(crate::shutdown());
            STOPPED.store(true, Ordering::Relaxed);
        }
    });
    if !std::io::stderr().is_terminal() {
        return Box::new(Quiet);
    }
    let style = ProgressStyle::with_template(
        "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    );
    let bar = ProgressBar::new(0).with_prefix(what);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    Box::new(Bar(bar))
}

struct Bar(ProgressBar);

impl Progress for Bar {
    fn started(&self, total: u64) {
        self.0.set_length(total);
    }
    fn advanced(&self, bytes: u64) {
        self.0.inc(bytes);
    }
    fn cancelled(&self) -> bool {
        STOPPED.load(Ordering::Relaxed)
    }
}

struct Quiet;

impl Progress for Quiet {
    fn started(&self, _total: u64) {}
    fn advanced(&self, _bytes: u64) {}
    fn cancelled(&self) -> bool {
        STOPPED.load(Ordering::Relaxed)
    }
}

static STOPPED: AtomicBool = AtomicBool::new(false);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
