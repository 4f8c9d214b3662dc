//! What is inside a message: the literal data, which may be signed or compressed.

use std::io::{Cursor, Read as _};

use flate2::read::{DeflateDecoder, ZlibDecoder};
use pgp::composed::{DecryptionOptions, Message, PlainSessionKey};
use zeroize::Zeroizing;

use super::framing::{COMPRESSED, LITERAL, MARKER, PADDING, Packet, Packets, header};
use super::key_file::fenced;

const ONE_PASS_SIGNATURE: u8 = 4;
const SIGNATURE: u8 = 2;
/// Longest content that is decompressed: options are a few hundred bytes. Beyond it a bomb is likelier.
const MAX_CONTENT_LEN: usize = 256 * 1024;

/// The literal data of a message that this session key opens. Integrity is verified before anything is looked at.
pub(super) fn open(container: &Packet<'_>, key: &PlainSessionKey) -> Option<Zeroizing<Vec<u8>>> {
    let content = fenced(|| decrypted(container, key))?;
    literal(&content, Compression::Allowed)
}

/// No longer than what was encrypted.
fn decrypted(container: &Packet<'_>, key: &PlainSessionKey) -> Option<Zeroizing<Vec<u8>>> {
    let mut message = header(container.tag, container.body.len())?;
    message.extend_from_slice(&container.body);
    let Ok(Message::Encrypted { mut edata, .. }) = Message::from_bytes(Cursor::new(message)) else {
        return None;
    };
    let options = DecryptionOptions::new().enable_gnupg_aead();
    edata.decrypt_with_options(key, options).ok()?;
    let mut content = Zeroizing::new(Vec::with_capacity(container.body.len()));
    edata.read_to_end(&mut content).ok()?;
    Some(content)
}

#[derive(Clone, Copy)]
enum Compression {
    Allowed,
    /// It was compressed once.
    Refused,
}

fn literal(content: &[u8], compression: Compression) -> Option<Zeroizing<Vec<u8>>> {
    let mut packets = Packets::new(content);
    while let Some(packet) = packets.next().ok()? {
        match (packet.tag, compression) {
            // Who signed is not asked: a layer's author is told by other means.
            (ONE_PASS_SIGNATURE | SIGNATURE | MARKER | PADDING, _) => {}
            (LITERAL, _) => return literal_data(&packet.body),
            (COMPRESSED, Compression::Allowed) => {
                return literal(&decompressed(&packet.body)?, Compression::Refused);
            }
            _ => return None,
        }
    }
    None
}

/// Behind format, name and date (RFC 9580 section 5.9).
fn literal_data(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (_format, rest) = body.split_first()?;
    let (&name_length, rest) = rest.split_first()?;
    let (_name, rest) = rest.split_at_checked(usize::from(name_length))?;
    let (_date, data) = rest.split_at_checked(4)?;
    Some(Zeroizing::new(data.to_vec()))
}

fn decompressed(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (&algorithm, body) = body.split_first()?;
    let limit = MAX_CONTENT_LEN as u64 + 1;
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_CONTENT_LEN + 1));
    match algorithm {
        0 => body.take(limit).read_to_end(&mut content),
        1 => DeflateDecoder::new(body)
            .take(limit)
            .read_to_end(&mut content),
        2 => ZlibDecoder::new(body).take(limit).read_to_end(&mut content),
        _ => return None,
    }
    .ok()?;
    (content.len() <= MAX_CONTENT_LEN).then_some(content)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::{DeflateEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn packet(tag: u8, body: &[u8]) -> Vec<u8> {
        [&header(tag, body.len()).unwrap(), body].concat()
    }

    fn text() -> Vec<u8> {
        packet(LITERAL, b"b\x03abc\0\0\0\0text")
    }

    fn open(content: &[u8]) -> Option<Vec<u8>> {
        literal(content, Compression::Allowed).map(|text| text.to_vec())
    }

    fn zlib(content: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(vec![2], flate2::Compression::best());
        encoder.write_all(content).unwrap();
        packet(COMPRESSED, &encoder.finish().unwrap())
    }

    #[test]
    fn literal_data_is_found_signed_and_compressed() {
        let signed = [
            packet(ONE_PASS_SIGNATURE, b"?"),
            text(),
            packet(SIGNATURE, b"?"),
        ]
        .concat();
        let mut deflated = DeflateEncoder::new(vec![1], flate2::Compression::fast());
        deflated.write_all(&signed).unwrap();
        let deflated = packet(COMPRESSED, &deflated.finish().unwrap());
        let stored = packet(COMPRESSED, &[&[0], &text()[..]].concat());
        for content in [text(), signed.clone(), zlib(&signed), deflated, stored] {
            assert_eq!(open(&content).as_deref(), Some(&b"text"[..]));
        }
    }

    #[test]
    fn bombs_and_odd_packets_are_refused() {
        let bomb = packet(
            LITERAL,
            &[&b"b\0\0\0\0\0"[..], &vec![0; MAX_CONTENT_LEN]].concat(),
        );
        let twice = zlib(&zlib(&text()));
        let bzip2 = packet(COMPRESSED, b"\x03BZh9");
        let cut = packet(LITERAL, b"b\x09abc");
        for content in [zlib(&bomb), twice, bzip2, cut, packet(1, b""), Vec::new()] {
            assert_eq!(open(&content), None);
        }
    }

    proptest! {
        #[test]
        fn hostile_content_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = open(&bytes);
            let _ = open(&packet(COMPRESSED, &bytes));
        }
    }
}
