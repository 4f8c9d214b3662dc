//! One message behind its length, as the agent's sockets for decoders and for the start gate have it: JSON, bounded, each
//! member once.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream as StdStream,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

/// Sends a question and waits for the answer, blocking.
pub(crate) fn ask(
    stream: &mut StdStream,
    question: &impl Serialize,
    patience: Duration,
) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(&frame(question)?)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; checked(length)?];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Waits for a question; who connects and says nothing is not waited for.
pub(crate) async fn question(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    timeout(QUESTION_LIMIT, stream.read_exact(&mut length)).await??;
    let mut body = vec![0; checked(length)?];
    timeout(QUESTION_LIMIT, stream.read_exact(&mut body)).await??;
    Ok(body)
}

/// Sends an answer; nothing comes after it.
pub(crate) async fn answer(stream: &mut UnixStream, answer: &impl Serialize) -> io::Result<()> {
    stream.write_all(&frame(answer)?).await?;
    stream.shutdown().await
}

/// A message of the expected shape, or none.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    jose::strict_json::from_slice(body).ok()
}

fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= LARGEST);
    let length = length
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the message is too large"))?;
    Ok([length.to_be_bytes().as_slice(), &body].concat())
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_be_bytes(length);
    match usize::try_from(length) {
        Ok(size) if length <= LARGEST => Ok(size),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the message is too large",
        )),
    }
}

/// 4 MiB.
const LARGEST: u32 = 4 * 1024 * 1024;
const QUESTION_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_room_is_made() {
        assert!(checked(LARGEST.to_be_bytes()).is_ok());
        assert!(checked((LARGEST + 1).to_be_bytes()).is_err());
        assert!(checked([0xff; 4]).is_err());
    }
}
