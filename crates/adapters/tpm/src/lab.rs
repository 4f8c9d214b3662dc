//! What a laboratory needs in place of real machines: software TPMs with a manufacturer of their own, and a plausible
//! boot. Nothing here may be trusted outside a lab: a server takes such a manufacturer only by configuration.

pub use boot_log::{PlayError, boot_log, boot_pcrs, play};
pub use software_tpm::{LabError, Manufacturer, RunningTpm, SoftwareTpm};

mod boot_log;
mod software_tpm;
mod uefi;
