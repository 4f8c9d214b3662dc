//! One connection to a TPM: framing, authorisation, and patience with a TPM that is busy.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tpm2_protocol::TpmWriter;
use tpm2_protocol::constant::TPM_MAX_COMMAND_SIZE;
use tpm2_protocol::data::{TpmRc, TpmRcBase, TpmSt, TpmsAuthCommand};
use tpm2_protocol::frame::{TpmFrame, TpmHeader, tpm_marshal_command};
use zeroize::Zeroizing;

use crate::address::TpmAddress;
use crate::error::TpmError;
use crate::transport::{HEADER, Transport};

/// A connection to a TPM. Clones share it; it may be used from any thread.
#[derive(Clone)]
pub struct Tpm {
    /// LOCK: held for one command and its answer, never across two. `None` once the connection broke: what comes
    /// next on it could be the answer to an older command.
    transport: Arc<Mutex<Option<Transport>>>,
}

impl Tpm {
    /// Connects to the TPM at `address`.
    ///
    /// A software TPM has no resource manager and serves one connection at a time, so whatever an earlier one left in
    /// its memory is removed.
    ///
    /// # Errors
    /// When it can't be reached or does not answer as a TPM does.
    pub fn connect(address: &TpmAddress) -> Result<Self, TpmError> {
        let transport = Transport::open(address).map_err(|source| TpmError::Unreachable {
            address: address.to_string(),
            source,
        })?;
        let tpm = Self {
            transport: Arc::new(Mutex::new(Some(transport))),
        };
        match address {
            TpmAddress::Device(_) => {}
            TpmAddress::Tcp { .. } | TpmAddress::Unix(_) => tpm.flush_leftovers()?,
        }
        Ok(tpm)
    }

    /// Ends the connection, for all who share it. What they loaded stays in a software TPM's memory until the next
    /// connection.
    pub fn disconnect(&self) {
        *self
            .transport
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Runs one command; while the TPM says that it is busy, waits and runs it again.
    pub(crate) fn run<C, R>(
        &self,
        what: &'static str,
        command: &C,
        auth: &[TpmsAuthCommand],
    ) -> Result<Answer, TpmError>
    where
        C: TpmFrame,
        R: TpmHeader,
    {
        let frame = frame(what, command, auth)?;
        let mut pause = FIRST_PAUSE;
        for _ in 0..ATTEMPTS {
            let bytes = self.exchange(what, &frame)?;
            match Answer::read(what, &bytes, R::HANDLES)? {
                Ok(answer) => return Ok(answer),
                Err(code) if is_busy(code) => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(code) => {
                    return Err(TpmError::Refused {
                        command: what,
                        code,
                    });
                }
            }
        }
        Err(TpmError::Busy { command: what })
    }

    fn exchange(&self, what: &'static str, frame: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let lost = |source| TpmError::Lost {
            command: what,
            source,
        };
        let mut guard = self
            .transport
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let transport = guard
            .as_mut()
            .ok_or_else(|| lost(io::ErrorKind::NotConnected.into()))?;
        let answer = transport.exchange(frame);
        if answer.is_err() {
            *guard = None;
        }
        answer.map_err(lost)
    }
}

impl fmt::Debug for Tpm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tpm")
    }
}

/// A successful answer: the handle it brings, and its parameters.
pub(crate) struct Answer {
    what: &'static str,
    pub(crate) handle: Option<u32>,
    parameters: Zeroizing<Vec<u8>>,
    read: usize,
}

impl Answer {
    /// Takes an answer apart; the inner error is the TPM's response code.
    fn read(
        what: &'static str,
        bytes: &[u8],
        handles: usize,
    ) -> Result<Result<Self, u32>, TpmError> {
        let mut whole = Self {
            what,
            handle: None,
            parameters: Zeroizing::new(bytes.to_vec()),
            read: 0,
        };
        let tag = whole.u16()?;
        whole.take(HEADER - 6)?;
        let code = whole.u32()?;
        if code != 0 {
            return Ok(Err(code));
        }
        let handle = match handles {
            0 => None,
            _ => Some(whole.u32()?),
        };
        let parameters = match tag == TpmSt::Sessions.value() {
            true => {
                let size = usize::try_from(whole.u32()?)
                    .map_err(|_| TpmError::Protocol { command: what })?;
                whole.take(size)?.to_vec()
            }
            false => whole.rest().to_vec(),
        };
        Ok(Ok(Self {
            what,
            handle,
            parameters: Zeroizing::new(parameters),
            read: 0,
        }))
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&[u8], TpmError> {
        let end = self.read.saturating_add(len);
        let bytes = self
            .parameters
            .get(self.read..end)
            .ok_or(TpmError::Protocol { command: self.what })?;
        self.read = end;
        Ok(bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, TpmError> {
        let bytes = self.take(2)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u16::from(*byte)))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, TpmError> {
        let bytes = self.take(4)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    /// A `TPM2B`, without its size.
    pub(crate) fn sized(&mut self) -> Result<&[u8], TpmError> {
        let size = self.u16()?;
        self.take(size.into())
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &[u8] {
        self.parameters.get(self.read..).unwrap_or_default()
    }
}

fn frame<C: TpmFrame>(
    what: &'static str,
    command: &C,
    auth: &[TpmsAuthCommand],
) -> Result<Vec<u8>, TpmError> {
    let mut buffer = [0; TPM_MAX_COMMAND_SIZE];
    let mut writer = TpmWriter::new(&mut buffer);
    let tag = if auth.is_empty() {
        TpmSt::NoSessions
    } else {
        TpmSt::Sessions
    };
    tpm_marshal_command(command, tag, auth, &mut writer)
        .map_err(|_| TpmError::Protocol { command: what })?;
    Ok(writer.as_bytes().to_vec())
}

/// The warnings after which the same command may be sent again.
fn is_busy(code: u32) -> bool {
    matches!(
        TpmRc::try_from(code),
        Ok(TpmRc::Warn(
            TpmRcBase::Retry | TpmRcBase::Yielded | TpmRcBase::Testing | TpmRcBase::NvRate
        ))
    )
}

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// With the pauses above: some ten seconds.
const ATTEMPTS: usize = 28;
