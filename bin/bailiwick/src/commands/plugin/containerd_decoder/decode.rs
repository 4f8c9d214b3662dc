//! The decoder's core, over any reader and writer: finds the key, compares its binding with the layer before the first byte
//! of plaintext leaves, and holds the last piece back until digest and HMAC were verified.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

use evidence::request::LayerDescriptor;
use oci_crypt::{
    Bound, CipherError, Digest as OciDigest, LayerAnnotations, LayerOpener, LayerVerifier,
    SeenDescriptor, Verified, media_type,
};
use zeroize::Zeroizing;

use super::{
    keys::{BindingRule, KeySource, LayerSecret, Places},
    payload::Payload,
    refusal::Refusal,
    spool::Spool,
};

/// What happens with a layer whose key is bound to nothing.
#[derive(Debug, Clone)]
pub(super) enum Unbound {
    /// All of it is verified before any of it is released.
    VerifyFirst(Spool),
    /// As with bound layers, only the last piece waits.
    Stream,
}

/// Decrypts the layer of `payload`.
pub(super) fn decode(
    payload: &Payload,
    sources: &[&dyn KeySource],
    unbound: &Unbound,
    ciphertext: &mut dyn Read,
    plaintext: &mut dyn Write,
) -> Result<(), Refusal> {
    let Payload {
        layer,
        annotations,
        sent: _,
    } = payload;
    if !media_type::is_encrypted(&layer.media_type) {
        return Err(Refusal::NotEncrypted {
            media_type: layer.media_type.chars().take(128).collect(),
        });
    }
    let annotations = LayerAnnotations::parse(annotations).map_err(Refusal::Annotations)?;
    let secret = find_key(&annotations, layer, sources)?;
    check_binding(&secret, layer)?;
    let (key, public) = (secret.options.key(), annotations.public_options());
    let opener = LayerOpener::new(key, public).map_err(Refusal::Cipher)?;
    match unbound {
        Unbound::VerifyFirst(spool) if says_nothing(&secret) => {
            let mut verified =
                spool.verified(LayerVerifier::new(key, public), layer, ciphertext)?;
            stream(opener, layer, &mut verified, plaintext)
        }
        Unbound::VerifyFirst(_) | Unbound::Stream => stream(opener, layer, ciphertext, plaintext),
    }
}

/// Sources in their order: what one with the last word refuses, a later one is not asked for.
fn find_key(
    annotations: &LayerAnnotations,
    layer: &LayerDescriptor,
    sources: &[&dyn KeySource],
) -> Result<LayerSecret, Refusal> {
    let mut refusal = None;
    for source in sources {
        source.expect(annotations.packets());
        for packet in annotations.packets() {
            match source.open(packet, layer) {
                Ok(Some(secret)) => return Ok(secret),
                Ok(None) => {}
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        if refusal.is_some() && source.has_the_last_word() {
            break;
        }
    }
    Err(refusal.unwrap_or_else(|| Refusal::NoKey {
        schemes: annotations.schemes(),
        tried: sources.iter().flat_map(|source| source.tried()).collect(),
    }))
}

fn check_binding(secret: &LayerSecret, layer: &LayerDescriptor) -> Result<(), Refusal> {
    let LayerSecret {
        options,
        places,
        binding,
    } = secret;
    let bound = options.bound();
    if *binding == BindingRule::Required && !bound.is_bound() {
        return Err(Refusal::Unbound);
    }
    let seen = SeenDescriptor {
        digest: OciDigest::from_sha256(*layer.digest.as_bytes()),
        size: layer.size,
        media_type: &layer.media_type,
    };
    match places {
        Places::Unknown if says_nothing(secret) => return Ok(()),
        Places::Unknown => bound.check(&seen, None),
        Places::Known(places) if places.is_empty() => return Err(Refusal::NoPlace),
        Places::Known(places) => places
            .iter()
            .try_for_each(|place| bound.check(&seen, Some(place))),
    }
    .map_err(Refusal::Binding)
}

/// Whether nothing of a binding can be compared. Of a short one, as packets of hardware modules have it, there is only the hash,
/// which says nothing before the place is known.
fn says_nothing(secret: &LayerSecret) -> bool {
    match (secret.options.bound(), &secret.places) {
        (Bound::Unbound, _) => true,
        (Bound::Hash(_), Places::Unknown) => secret.binding == BindingRule::IfThere,
        (Bound::Hash(_), Places::Known(_)) | (Bound::Full(_), _) => false,
    }
}

/// Decrypts piece by piece. A piece leaves when a whole one came after it; the last whole one and what follows wait for the
/// verification.
fn stream(
    mut opener: LayerOpener,
    layer: &LayerDescriptor,
    ciphertext: &mut dyn Read,
    plaintext: &mut dyn Write,
) -> Result<(), Refusal> {
    let mut input = vec![0; PIECE];
    let (mut held, mut new) = (
        Zeroizing::new(Vec::with_capacity(PIECE)),
        Zeroizing::new(vec![0; PIECE]),
    );
    let mut total = 0u64;
    loop {
        let count = fill(ciphertext, &mut input)?;
        total += count as u64;
        if total > layer.size {
            return Err(Refusal::TooLong {
                expected: layer.size,
            });
        }
        new.resize(count, 0);
        opener
            .update(input.get(..count).unwrap_or_default(), &mut new)
            .map_err(Refusal::Cipher)?;
        if count < PIECE {
            break;
        }
        plaintext.write_all(&held).map_err(Refusal::Write)?;
        std::mem::swap(&mut held, &mut new);
    }
    check_end(total, layer, opener.finish())?;
    write_both(plaintext, &held, &new).map_err(Refusal::Write)?;
    plaintext.flush().map_err(Refusal::Write)
}

/// One call for what was held back and what follows, so that the reader is woken once.
fn write_both(to: &mut dyn Write, one: &[u8], other: &[u8]) -> io::Result<()> {
    let mut slices = [IoSlice::new(one), IoSlice::new(other)];
    let mut rest = slices.as_mut_slice();
    // Empty ones are left out: a write of nothing would look like the end.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match to.write_vectored(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut rest, count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Length, HMAC and digest, in the order in which they explain most.
pub(super) fn check_end(
    total: u64,
    layer: &LayerDescriptor,
    verified: Result<Verified, CipherError>,
) -> Result<(), Refusal> {
    if total != layer.size {
        return Err(Refusal::Truncated {
            found: total,
            expected: layer.size,
        });
    }
    let verified = verified.map_err(Refusal::Cipher)?;
    if verified.size != layer.size || verified.digest.as_bytes() != layer.digest.as_bytes() {
        return Err(Refusal::Digest);
    }
    Ok(())
}

/// Reads until the buffer is full or nothing more comes.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, Refusal> {
    let mut done = 0;
    while let Some(room) = buffer.get_mut(done..).filter(|room| !room.is_empty()) {
        match from.read(room) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Refusal::Read(error)),
        }
    }
    Ok(done)
}

/// At least this much is held back.
pub(super) const PIECE: usize = 256 * 1024;

#[cfg(test)]
mod tests;
