//! What goes wrong between us and a TPM.

use std::io;

/// Why the TPM did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// Fault: whoever wrote the configuration.
    #[error(
        "`{text}` is no TPM address: write `device:/dev/tpmrm0`, `swtpm:host=127.0.0.1,port=2321` or `swtpm:path=/run/tpm.sock`"
    )]
    Address {
        /// What was written.
        text: String,
    },
    /// Fault: the machine, which has no such TPM, or does not let us use it.
    #[error("the TPM at `{address}` can't be reached")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Fault: the TPM or its driver. The connection is not used again: connect anew and make the keys anew.
    #[error("the connection to the TPM broke during `{command}`")]
    Lost {
        /// The command.
        command: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Fault: the TPM, which was busy longer than is sensible. Retry later.
    #[error("the TPM was too busy for `{command}`")]
    Busy {
        /// The command.
        command: &'static str,
    },
    /// Fault: depends on the code; the TPM did not want to do it.
    #[error("the TPM refused `{command}` with code {code:#x}")]
    Refused {
        /// The command.
        command: &'static str,
        /// The TPM's response code.
        code: u32,
    },
    /// Fault: the TPM or its driver: the answer can't be read. Or the caller, if what was asked can't be written.
    #[error("`{command}` and its answer can't be put into the TPM's language")]
    Protocol {
        /// The command.
        command: &'static str,
    },
    /// Fault: whoever moved the state: it was made by another TPM, or before this one was cleared.
    #[error("this TPM can't make the key that the saved state names")]
    OtherTpm,
    /// Fault: whoever wrote or altered the saved state.
    #[error("the saved state of the node key is malformed")]
    State,
}
