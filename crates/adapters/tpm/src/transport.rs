//! Bytes to and from a TPM: one command, one answer. Device files want each as one write and one read; sockets of
//! software TPMs take the same bytes as a stream.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::address::TpmAddress;

pub(crate) enum Transport {
    Device(File),
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Transport {
    pub(crate) fn open(address: &TpmAddress) -> io::Result<Self> {
        match address {
            TpmAddress::Device(path) => Ok(Self::Device(
                OpenOptions::new().read(true).write(true).open(path)?,
            )),
            TpmAddress::Tcp { host, port } => {
                let target = (host.as_str(), *port).to_socket_addrs()?.next();
                let target =
                    target.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
                let stream = TcpStream::connect_timeout(&target, CONNECT)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER))?;
                stream.set_write_timeout(Some(ANSWER))?;
                Ok(Self::Tcp(stream))
            }
            TpmAddress::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(ANSWER))?;
                stream.set_write_timeout(Some(ANSWER))?;
                Ok(Self::Unix(stream))
            }
        }
    }

    /// Sends a command and reads its whole answer, which may hold a secret.
    pub(crate) fn exchange(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        match self {
            Self::Device(file) => exchange(file, command),
            Self::Tcp(stream) => exchange(stream, command),
            Self::Unix(stream) => exchange(stream, command),
        }
    }
}

fn exchange(stream: &mut (impl Read + Write), command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    stream.write_all(command)?;
    stream.flush()?;
    let mut buffer = Zeroizing::new([0_u8; MAX_ANSWER]);
    let mut filled = 0;
    loop {
        let space = buffer.get_mut(filled..).unwrap_or_default();
        match stream.read(space) {
            // No space left reads as 0 too: an answer larger than any TPM gives.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let answer = buffer.get(..filled).unwrap_or_default();
        match announced_size(answer) {
            Some(size) if size == filled && size >= HEADER => {
                return Ok(Zeroizing::new(answer.to_vec()));
            }
            Some(size) if size < filled || size < HEADER => {
                return Err(io::ErrorKind::InvalidData.into());
            }
            _ => {}
        }
    }
}

/// The size of the answer, once its header says it.
fn announced_size(answer: &[u8]) -> Option<usize> {
    let bytes = answer.get(2..6)?.first_chunk::<4>()?;
    usize::try_from(u32::from_be_bytes(*bytes)).ok()
}

/// Tag, size and response code.
pub(crate) const HEADER: usize = 10;
const MAX_ANSWER: usize = 4096;
const CONNECT: Duration = Duration::from_secs(5);
/// Making an RSA key takes a discrete TPM up to a minute.
const ANSWER: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    /// A TPM that answers in pieces of the given sizes.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            out[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const ANSWER: [u8; 12] = [0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7, 7];

    #[test]
    fn an_answer_in_pieces_is_one_answer() {
        let mut tpm = Pieces(ANSWER.chunks(5).map(<[u8]>::to_vec).collect());
        assert_eq!(*exchange(&mut tpm, b"x").unwrap(), ANSWER);
    }

    #[test]
    fn answers_that_end_early_or_run_over_are_refused() {
        let long = [&ANSWER[..], &[1]].concat();
        let tiny = [0x80, 1, 0, 0, 0, 6, 0, 0, 0, 0];
        for answer in [
            &ANSWER[..11],
            &long,
            &tiny,
            &[0x80, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        ] {
            assert!(exchange(&mut Pieces(vec![answer.to_vec()]), b"x").is_err());
        }
    }
}
