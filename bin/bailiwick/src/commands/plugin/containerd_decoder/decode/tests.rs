//! The decoder's core against whoever assembled the image or altered it on the way.

use std::{cell::Cell, collections::BTreeMap, io::Cursor};

use hpke_xwing::{PrivateKey, Suite};
use jose::jwe::{DecryptionKey, EncryptionKey};
use oci_crypt::{
    BailiwickOpener, BailiwickWrapper, Binding, Bound, JweOpener, JweWrapper, KeyId, KeyPacket,
    KeyRecord, LayerSealer, Opening, PacketOpener, PacketWrapper, SeenPlace, SystemRandomness,
    seal_annotations,
};
use proptest::prelude::*;

use super::{
    super::{keys::PlaceSource, local::LocalKeys, refusal::Refused, sent::Sent},
    *,
};

const TYPE: &str = "application/vnd.oci.image.layer.v1.tar+encrypted";

/// A sealed layer and the keys that open it.
struct Sealed {
    payload: Payload,
    ciphertext: Vec<u8>,
    plain: Vec<u8>,
    keys: Keys,
    /// The developer's key as a file has it.
    pem: String,
}

/// Gives keys as the agent does, without one: the packets are opened with the authority's own key.
struct Keys {
    ours: BailiwickOpener,
    developer: JweOpener,
    places: Places,
    refuse: Cell<bool>,
}

impl KeySource for Keys {
    fn open(
        &self,
        packet: &KeyPacket,
        _layer: &LayerDescriptor,
    ) -> Result<Option<LayerSecret>, Refusal> {
        if self.refuse.get() {
            let reason = "no rule permits it".to_owned();
            let denied = rpc::key_socket::KeySocketError::Denied {
                code: "denied".to_owned(),
                reason,
            };
            return Err(Refusal::Agent(denied));
        }
        let secret = |options, places, binding| {
            Ok(Some(LayerSecret {
                options,
                places,
                binding,
            }))
        };
        match (self.ours.open(packet), self.developer.open(packet)) {
            (Opening::Opened(options), _) => {
                secret(options, self.places.clone(), BindingRule::Required)
            }
            (_, Opening::Opened(options)) => secret(options, Places::Unknown, BindingRule::IfThere),
            _ => Ok(None),
        }
    }
}

fn place(config: &[u8]) -> SeenPlace {
    SeenPlace {
        index: 0,
        of: 1,
        config: OciDigest::of(config),
        diff_id: None,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum To {
    /// Our recipient, bound.
    Us,
    /// Our recipient, not bound.
    UsUnbound,
    /// A developer's key, not bound: as a peer encrypts.
    Peer,
    /// A developer's key, bound: what is left when somebody takes our packet away.
    PeerBound,
    /// The same, bound by its hash alone.
    PeerHash,
}

fn seal(length: usize, to: To) -> Sealed {
    let plain: Vec<u8> = (0..length).map(|i| (i * 7 + i / 251) as u8).collect();
    let mut ciphertext = vec![0; length];
    let mut sealer = LayerSealer::new(&mut SystemRandomness).unwrap();
    sealer.update(&plain, &mut ciphertext).unwrap();
    let finished = sealer.finish().unwrap();
    let (digest, size) = (finished.digest, finished.size);
    let binding = Binding {
        ciphertext: digest,
        size,
        media_type: TYPE.strip_suffix("+encrypted").unwrap().to_owned(),
        diff_id: None,
        index: 0,
        of: 1,
        config: OciDigest::of(b"config"),
    };
    let bound = match to {
        To::Us | To::PeerBound => Bound::Full(Box::new(binding)),
        To::PeerHash => Bound::Hash(binding.hash()),
        To::UsUnbound | To::Peer => Bound::Unbound,
    };
    let (public, private) = finished.into_options(OciDigest::of(&plain), bound);
    let authority = PrivateKey::generate(Suite::X25519).unwrap();
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let developer: DecryptionKey = jose::key_file::parse_private(pem.as_bytes()).unwrap();
    let ours = BailiwickWrapper {
        authority: "spiffe://td".to_owned(),
        resource: "medrec".to_owned(),
        key: authority.public_key().clone(),
    };
    let peers = JweWrapper::new(vec![
        EncryptionKey::from_jwk(developer.public_jwk()).unwrap(),
    ]);
    let wrapper: &dyn PacketWrapper = match to {
        To::Us | To::UsUnbound => &ours,
        To::Peer | To::PeerBound | To::PeerHash => &peers,
    };
    let annotations = seal_annotations(&public, &private, &[wrapper]).unwrap();
    let record = KeyRecord {
        authority: "spiffe://td".to_owned(),
        key_id: KeyId::of(authority.public_key()),
        suite: Suite::X25519,
        resource: "medrec".to_owned(),
    };
    Sealed {
        payload: Payload {
            layer: LayerDescriptor {
                digest: estate::Digest::from_bytes(*digest.as_bytes()),
                size,
                media_type: TYPE.to_owned(),
            },
            annotations,
            sent: Sent::default(),
        },
        ciphertext,
        plain,
        keys: Keys {
            ours: BailiwickOpener::new(record, authority),
            developer: JweOpener::new(vec![developer]),
            places: Places::Known(vec![place(b"config")]),
            refuse: Cell::new(false),
        },
        pem,
    }
}

fn spool() -> Unbound {
    Unbound::VerifyFirst(Spool {
        memory: 64 * 1024,
        disk: 8 * PIECE as u64,
        folder: std::env::temp_dir(),
    })
}

/// What came out, and how it ended.
fn run(sealed: &Sealed, ciphertext: &[u8], unbound: &Unbound) -> (Vec<u8>, Result<(), Refusal>) {
    let mut out = Vec::new();
    let result = decode(
        &sealed.payload,
        &[&sealed.keys],
        unbound,
        &mut Cursor::new(ciphertext),
        &mut out,
    );
    (out, result)
}

#[test]
fn layers_of_every_length_come_out_whole() {
    for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 13] {
        for (to, unbound) in [
            (To::Us, spool()),
            (To::Peer, spool()),
            (To::Peer, Unbound::Stream),
        ] {
            let sealed = seal(length, to);
            let (out, result) = run(&sealed, &sealed.ciphertext, &unbound);
            assert!(result.is_ok(), "{length}: {result:?}");
            assert!(out == sealed.plain, "{length}");
        }
    }
}

#[test]
fn a_flipped_bit_never_releases_the_last_piece() {
    let length = 3 * PIECE + 100;
    for (to, unbound, most) in [
        (To::Us, spool(), length - PIECE),
        (To::Peer, Unbound::Stream, length - PIECE),
        (To::Peer, spool(), 0),
    ] {
        let sealed = seal(length, to);
        for at in [0, PIECE, length / 2, length - 1] {
            let mut ciphertext = sealed.ciphertext.clone();
            ciphertext[at] ^= 1;
            let (out, result) = run(&sealed, &ciphertext, &unbound);
            assert!(
                matches!(result, Err(Refusal::Cipher(CipherError::Altered))),
                "{result:?}"
            );
            assert!(
                out.len() <= most,
                "{} of {length} bytes were released",
                out.len()
            );
        }
    }
}

#[test]
fn a_short_layer_that_was_altered_releases_nothing() {
    let sealed = seal(PIECE, To::Us);
    let mut ciphertext = sealed.ciphertext.clone();
    ciphertext[7] ^= 0x80;
    assert!(run(&sealed, &ciphertext, &spool()).0.is_empty());
}

#[test]
fn truncated_and_longer_streams_are_refused() {
    let length = 2 * PIECE + 5;
    for (to, unbound) in [
        (To::Us, spool()),
        (To::Peer, spool()),
        (To::Peer, Unbound::Stream),
    ] {
        let sealed = seal(length, to);
        for keep in [0, 1, PIECE, length - 1] {
            let (out, result) = run(&sealed, &sealed.ciphertext[..keep], &unbound);
            assert!(
                matches!(result, Err(Refusal::Truncated { .. })),
                "{keep}: {result:?}"
            );
            assert!(out.len() + PIECE <= length, "{keep}");
        }
        for more in [1, PIECE, 3 * PIECE] {
            let longer = [sealed.ciphertext.clone(), vec![0; more]].concat();
            let (out, result) = run(&sealed, &longer, &unbound);
            assert!(
                matches!(result, Err(Refusal::TooLong { .. })),
                "{more}: {result:?}"
            );
            assert!(out.len() + PIECE <= length, "{more}");
        }
    }
}

#[test]
fn an_endless_stream_is_refused_at_the_size_of_the_descriptor() {
    let sealed = seal(PIECE, To::Peer);
    let mut out = Vec::new();
    let result = decode(
        &sealed.payload,
        &[&sealed.keys],
        &spool(),
        &mut std::io::repeat(0),
        &mut out,
    );
    assert!(matches!(result, Err(Refusal::TooLong { .. })));
    assert!(out.is_empty());
}

#[test]
fn a_layer_under_another_layers_key_releases_nothing() {
    let (mut sealed, other) = (seal(2 * PIECE, To::Us), seal(2 * PIECE, To::Us));
    // The other layer's ciphertext and descriptor, with this layer's packets.
    sealed.payload.layer = other.payload.layer.clone();
    let (out, result) = run(&sealed, &other.ciphertext, &spool());
    assert!(matches!(result, Err(Refusal::Binding(_))), "{result:?}");
    assert!(out.is_empty());
}

#[test]
fn a_descriptor_that_lies_releases_nothing() {
    let lies: [fn(&mut LayerDescriptor); 3] = [
        |layer| layer.size += 1,
        |layer| layer.digest = estate::Digest::of(b"other"),
        |layer| layer.media_type = TYPE.replace("tar", "tar+gzip"),
    ];
    for lie in lies {
        let mut sealed = seal(2 * PIECE, To::Us);
        lie(&mut sealed.payload.layer);
        let (out, result) = run(&sealed, &sealed.ciphertext.clone(), &spool());
        assert!(matches!(result, Err(Refusal::Binding(_))), "{result:?}");
        assert!(out.is_empty());
    }
}

#[test]
fn an_unbound_layer_has_to_be_the_one_of_its_digest() {
    for unbound in [spool(), Unbound::Stream] {
        let mut sealed = seal(PIECE, To::Peer);
        sealed.payload.layer.digest = estate::Digest::of(b"other");
        let (out, result) = run(&sealed, &sealed.ciphertext.clone(), &unbound);
        assert!(matches!(result, Err(Refusal::Digest)), "{result:?}");
        assert!(out.is_empty());
    }
}

#[test]
fn a_layer_in_another_image_releases_nothing() {
    for places in [
        vec![place(b"other")],
        vec![place(b"config"), place(b"other")],
    ] {
        let mut sealed = seal(PIECE, To::Us);
        sealed.keys.places = Places::Known(places);
        let (out, result) = run(&sealed, &sealed.ciphertext, &spool());
        assert!(matches!(result, Err(Refusal::Binding(_))), "{result:?}");
        assert!(out.is_empty());
    }
}

#[test]
fn a_layer_that_no_image_is_known_to_list_releases_nothing() {
    let mut sealed = seal(PIECE, To::Us);
    sealed.keys.places = Places::Known(Vec::new());
    let (out, result) = run(&sealed, &sealed.ciphertext, &spool());
    assert!(matches!(result, Err(Refusal::NoPlace)), "{result:?}");
    assert!(out.is_empty());
}

/// An agent that lists a layer in these places, or does not answer.
struct Agent(Option<Vec<SeenPlace>>);

impl PlaceSource for Agent {
    fn places_of(&self, _layer: &LayerDescriptor) -> Result<Vec<SeenPlace>, Refusal> {
        let broken = || {
            let error = std::io::ErrorKind::UnexpectedEof.into();
            Refusal::Places(rpc::key_socket::KeySocketError::Broken(error))
        };
        self.0.clone().ok_or_else(broken)
    }
}

/// Opens with the developer's key on a node with this agent.
fn run_locally(sealed: &Sealed, agent: Option<Agent>) -> (Vec<u8>, Result<(), Refusal>) {
    let sent = Sent {
        private_keys: vec![(Zeroizing::new(sealed.pem.clone().into_bytes()), None)],
        ..Sent::default()
    };
    let agent = agent.as_ref().map(|agent| agent as &dyn PlaceSource);
    let keys = LocalKeys::new(None, &sent, agent);
    let mut out = Vec::new();
    let mut input = Cursor::new(&sealed.ciphertext);
    let result = decode(&sealed.payload, &[&keys], &spool(), &mut input, &mut out);
    (out, result)
}

#[test]
fn a_bound_layer_whose_packet_of_ours_was_taken_away_still_opens_only_in_its_image() {
    let (here, other) = (place(b"config"), place(b"other"));
    for to in [To::PeerBound, To::PeerHash] {
        let sealed = seal(PIECE, to);
        let (out, result) = run_locally(&sealed, Some(Agent(Some(vec![here]))));
        assert!(result.is_ok() && out == sealed.plain, "{result:?}");
        for places in [vec![other], vec![here, other]] {
            let (out, result) = run_locally(&sealed, Some(Agent(Some(places))));
            assert!(matches!(result, Err(Refusal::Binding(_))), "{result:?}");
            assert!(out.is_empty());
        }
        let (out, result) = run_locally(&sealed, Some(Agent(Some(Vec::new()))));
        assert!(matches!(result, Err(Refusal::NoPlace)), "{result:?}");
        assert!(out.is_empty());
        let (out, result) = run_locally(&sealed, Some(Agent(None)));
        let said = Box::<Refused>::from(result.unwrap_err()).explain();
        assert!(
            said.contains("the agent did not say") && said.contains("\nhint: "),
            "{said}"
        );
        assert!(out.is_empty());
    }
}

#[test]
fn an_agent_is_not_asked_about_layers_that_are_bound_to_nothing_and_need_not_be_there() {
    let sealed = seal(PIECE, To::Peer);
    assert!(run_locally(&sealed, Some(Agent(None))).1.is_ok());
    assert!(run_locally(&sealed, None).1.is_ok());
    // Without an agent the descriptor is all that can be compared.
    let mut sealed = seal(PIECE, To::PeerBound);
    assert!(run_locally(&sealed, None).1.is_ok());
    sealed.payload.layer.size += 1;
    assert!(matches!(
        run_locally(&sealed, None).1,
        Err(Refusal::Binding(_))
    ));
}

#[test]
fn a_layer_that_is_bound_by_a_hash_alone_is_verified_whole_where_no_agent_knows_its_place() {
    let mut sealed = seal(3 * PIECE, To::PeerHash);
    let (out, result) = run_locally(&sealed, None);
    assert!(result.is_ok() && out == sealed.plain, "{result:?}");
    sealed.ciphertext[3 * PIECE - 1] ^= 1;
    let (out, result) = run_locally(&sealed, None);
    assert!(result.is_err() && out.is_empty(), "{result:?}");
}

#[test]
fn a_key_of_ours_without_a_binding_is_refused() {
    let sealed = seal(PIECE, To::UsUnbound);
    let (out, result) = run(&sealed, &sealed.ciphertext, &spool());
    assert!(matches!(result, Err(Refusal::Unbound)), "{result:?}");
    assert!(out.is_empty());
}

#[test]
fn an_unbound_layer_beyond_the_bound_is_refused_before_it_is_read() {
    let sealed = seal(2 * PIECE, To::Peer);
    let small = Unbound::VerifyFirst(Spool {
        memory: 10,
        disk: 100,
        folder: std::env::temp_dir(),
    });
    let (out, result) = run(&sealed, &sealed.ciphertext, &small);
    assert!(
        matches!(result, Err(Refusal::TooLargeToVerify { .. })),
        "{result:?}"
    );
    assert!(out.is_empty());
}

#[test]
fn a_refusal_is_final_and_tells_why() {
    let sealed = seal(10, To::Us);
    let open = seal(10, To::Us);
    sealed.keys.refuse.set(true);
    let mut out = Vec::new();
    let mut input = Cursor::new(&sealed.ciphertext);
    let result = decode(
        &sealed.payload,
        &[&sealed.keys, &open.keys],
        &spool(),
        &mut input,
        &mut out,
    );
    let said = Box::<Refused>::from(result.unwrap_err()).explain();
    assert!(
        said.contains("denied: no rule permits it") && said.contains("\nhint: "),
        "{said}"
    );
    assert!(out.is_empty());
}

/// Takes a few bytes of one slice at a time, with pauses.
struct Slow(Vec<u8>, bool);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(ErrorKind::Interrupted.into());
        }
        let taken = bytes.len().min(3);
        self.0.extend(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn both_ends_of_a_layer_leave_whole_and_in_order() {
    for (one, other) in [
        ("", ""),
        ("held", ""),
        ("", "new"),
        ("held back", "and new"),
    ] {
        let mut slow = Slow(Vec::new(), false);
        write_both(&mut slow, one.as_bytes(), other.as_bytes()).unwrap();
        assert_eq!(slow.0, [one, other].concat().as_bytes());
    }
    let full = write_both(&mut [0; 3].as_mut_slice(), b"more", b"than fits");
    assert_eq!(full.unwrap_err().kind(), ErrorKind::WriteZero);
}

#[test]
fn layers_that_are_not_encrypted_or_for_others_are_refused() {
    let mut sealed = seal(10, To::Us);
    let stranger = seal(10, To::Us);
    let mut out = Vec::new();
    let result = decode(
        &sealed.payload,
        &[&stranger.keys],
        &spool(),
        &mut Cursor::new(&sealed.ciphertext),
        &mut out,
    );
    assert!(matches!(result, Err(Refusal::NoKey { .. })), "{result:?}");
    sealed.payload.layer.media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
    let (_, result) = run(&sealed, &sealed.ciphertext.clone(), &spool());
    assert!(
        matches!(result, Err(Refusal::NotEncrypted { .. })),
        "{result:?}"
    );
    sealed.payload.annotations = BTreeMap::new();
    sealed.payload.layer.media_type = TYPE.to_owned();
    let (_, result) = run(&sealed, &sealed.ciphertext.clone(), &spool());
    assert!(matches!(result, Err(Refusal::Annotations(_))), "{result:?}");
}

/// A reader that gives little at a time.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(buffer.len()).min(self.0.len());
        let (now, later) = self.0.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn however_the_ciphertext_comes_and_is_damaged_the_last_piece_is_whole_or_absent(
        length in 0usize..3 * PIECE, step in 1000usize..70_000, damage in proptest::option::of((any::<usize>(), 1u8..)),
    ) {
        let sealed = seal(length, To::Us);
        let mut ciphertext = sealed.ciphertext.clone();
        let damaged = damage.and_then(|(at, mask)| {
            let at = at.checked_rem(length)?;
            ciphertext[at] ^= mask;
            Some(())
        });
        let mut out = Vec::new();
        let mut input = Trickle(&ciphertext, step);
        let result = decode(&sealed.payload, &[&sealed.keys], &spool(), &mut input, &mut out);
        prop_assert_eq!(result.is_ok(), damaged.is_none());
        if damaged.is_none() {
            prop_assert!(out == sealed.plain);
        } else {
            prop_assert!(out.len() <= length.saturating_sub(PIECE));
        }
    }
}
