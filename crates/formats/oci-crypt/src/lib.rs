#![doc = include_str!("../README.md")]

mod annotations;
mod base64;
mod binding;
mod cipher;
mod digest;
mod layer;
mod options;
mod packet;

pub mod media_type;

pub use annotations::{
    AnnotationError, KEYS_PREFIX, LayerAnnotations, MAX_ANNOTATION_LEN, MAX_PACKETS, PREFIX,
    PUBOPTS,
};
pub use binding::{Binding, BindingMismatch, Bound, SeenDescriptor, SeenPlace};
pub use cipher::{
    CipherError, CipherHalf, Finished, LayerOpener, LayerSealer, LayerVerifier, NoRandomness,
    Randomness, SystemRandomness, TagsHalf, Verified,
};
pub use digest::{Digest, DigestError};
pub use layer::{
    OpenError, SealError, annotations_of, open_layer_key, seal_annotations, without_encryption,
};
pub use options::{CIPHER, LayerKey, OptionsError, PrivateOptions, PublicOptions};
pub use packet::{
    BailiwickOpener, BailiwickPacket, BailiwickWrapper, Certificate, CertificateError, CocoKey,
    CocoKeyError, CocoOpener, CocoPacket, CocoVersion, CocoWrapper, Foreign, IssuerAndSerial,
    JweOpener, JweWrapper, KeyId, KeyPacket, KeyRecord, MAX_CERTIFICATE_LEN, OaepHash, Opening,
    PacketError, PacketOpener, PacketWrapper, PgpHolder, PgpKeyId, PgpKeyIdError, Pkcs7Opener,
    Pkcs7Wrapper, Pkcs11Key, Pkcs11KeyError, Pkcs11Opener, Pkcs11Recipient, Pkcs11Wrapper, Scheme,
    TokenKey, TokenKeyError, WrapError, pgp_recipients, pgp_without, pkcs7_recipients,
    pkcs11_recipients,
};
#[cfg(feature = "pgp")]
pub use packet::{
    MAX_PGP_RING_LEN, PgpKeyError, PgpOpener, PgpPublicRing, PgpRecipient, PgpSecretRing,
    PgpWrapper, is_pgp_key_file,
};
pub use twin_sha256::Sha256;
