//! Encrypting an image: every layer of every platform under its own key, bound to the place where it belongs.

mod work;

use estate::Digest;
use oci_crypt::PacketOpener;

use crate::decrypt::{KeyRing, Unbound};
use crate::error::ImageError;
use crate::nowhere::Nowhere;
use crate::pipeline::Run;
use crate::ports::{ImageSource, ImageTarget};
use crate::progress::{Progress, Silent};
use crate::recipients::Recipients;
use crate::select::{LayerChoice, Platform};
use crate::statement_carry::Signing;
use crate::walk::{Checked, Walk};
use work::Encryption;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// Digest of the manifest or index that the target's name now stands for.
    pub digest: Digest,
    /// Encrypted layers, over all platforms.
    pub layers: usize,
    /// Of these, layers that were encrypted before and only got the new recipients.
    pub kept: usize,
    /// Layers that were not chosen, and stay readable.
    pub readable_layers: usize,
    /// Documents beside the image, such as a builder's attestations, that went over as they are and stay readable.
    pub readable_documents: usize,
}

/// What is encrypted of an image; by default every layer of every platform.
#[derive(Default)]
pub struct EncryptOptions<'a> {
    /// Which layers. The others stay readable.
    pub layers: LayerChoice,
    /// Which platforms. The others are left out: nothing of them is published.
    pub platforms: Vec<Platform>,
    /// Keys of layers that are encrypted already: these are kept, and get the new recipients.
    pub openers: Vec<&'a dyn PacketOpener>,
    /// What is stated of the images under their new name; nothing is published when it can't be.
    pub signing: Option<&'a Signing<'a>>,
}

/// What would be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preview {
    /// Layers to work on, over all platforms.
    pub layers: usize,
    /// Of these, layers that are encrypted already.
    pub kept: usize,
    /// Layers that stay readable.
    pub readable_layers: usize,
    /// Bytes to read.
    pub bytes: u64,
}

/// Encrypts the image in `source` for `recipients` and puts it into `target`.
///
/// Every layer is encrypted or nothing is published. An image with a layer that is encrypted already is refused.
///
/// # Errors
/// See [`ImageError`].
pub fn encrypt(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    recipients: &Recipients,
    progress: &dyn Progress,
) -> Result<Encrypted, ImageError> {
    encrypt_with(
        source,
        target,
        recipients,
        &EncryptOptions::default(),
        progress,
    )
}

/// As [`encrypt`], for chosen layers and platforms, and for images with layers that are encrypted already.
///
/// # Errors
/// See [`ImageError`].
pub fn encrypt_with(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    recipients: &Recipients,
    options: &EncryptOptions<'_>,
    progress: &dyn Progress,
) -> Result<Encrypted, ImageError> {
    let walk = Walk {
        source,
        target,
        run: Run::new(progress),
        platforms: &options.platforms,
    };
    let written = walk.through(&Encryption {
        source,
        target,
        wrappers: &recipients.wrappers()?,
        kept: KeyRing::new(&options.openers, Unbound::Refuse),
        options,
    })?;
    Ok(Encrypted {
        digest: written.root,
        layers: written.done.layers,
        kept: written.done.kept,
        readable_layers: written.done.readable,
        readable_documents: written.copied,
    })
}

/// What [`encrypt_with`] would do, as far as it can be told without reading layers. Nothing is written.
///
/// # Errors
/// See [`ImageError`].
pub fn preview_encrypt(
    source: &dyn ImageSource,
    recipients: &Recipients,
    options: &EncryptOptions<'_>,
) -> Result<Preview, ImageError> {
    let walk = Walk {
        source,
        target: &Nowhere,
        run: Run::new(&Silent),
        platforms: &options.platforms,
    };
    let checked = walk.preview(&Encryption {
        source,
        target: &Nowhere,
        wrappers: &recipients.wrappers()?,
        kept: KeyRing::new(&options.openers, Unbound::Refuse),
        options,
    })?;
    Ok(Preview::of(checked))
}

impl Preview {
    pub(crate) const fn of(checked: Checked) -> Self {
        Self {
            layers: checked.layers,
            kept: checked.kept,
            readable_layers: checked.readable,
            bytes: checked.bytes,
        }
    }
}
