//! Recipients of an image that is encrypted: added and removed in its manifests, without a look at its layers.

use estate::Digest;
use oci_crypt::{KeyPacket, PacketOpener, PacketWrapper, media_type};

use crate::config::Config;
use crate::decrypt::{Unbound, open_all};
use crate::error::ImageError;
use crate::manifest::{Descriptor, Manifest, RawManifest};
use crate::nowhere::Held;
use crate::packets::{self, Selector};
use crate::pipeline::Run;
use crate::ports::{ImageSource, ImageTarget};
use crate::progress::Silent;
use crate::recipients::Recipients;
use crate::statement_carry::{Following, Published};
use crate::tree::{Role, Tree};
use crate::wrapping::wrap_all;

/// Whether something is done, or only shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Plan {
    /// It is done.
    #[default]
    Do,
    /// It is worked out as far as nothing is written.
    Show,
}

/// What is changed about the recipients of an image.
#[derive(Default)]
pub struct RecipientsEdit<'a> {
    /// Who goes. Each must be somewhere.
    pub remove: Vec<Selector>,
    /// Who comes; needs a key that opens each layer.
    pub add: Option<&'a Recipients>,
    /// The keys.
    pub openers: Vec<&'a dyn PacketOpener>,
}

/// What was changed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientsEdited {
    /// Digest of what the name stood for.
    pub former: Digest,
    /// Digest of what it stands for now; of no meaning when it was only shown.
    pub digest: Digest,
    /// Encrypted layers, over all platforms.
    pub layers: usize,
    /// Packets that were added.
    pub added: usize,
    /// Packets, or recipients inside a packet, that were removed.
    pub removed: usize,
    /// Layers that whoever came can open and that were bound to nothing: whoever calls should say so, since another's
    /// layer may have been put there to get its key.
    pub unbound: usize,
}

/// Changes the recipients of the image in `source`, whose blobs must lie in `target` already: both are one place.
/// Layers are neither read nor written; packets that nobody here understands stay byte for byte.
///
/// A key that was removed may have been kept by whoever had it: only [`crate::rekey`] makes it useless.
///
/// # Errors
/// See [`ImageError`]. Nothing is published then.
pub fn edit_recipients(
    source: &dyn ImageSource,
    target: &dyn ImageTarget,
    edit: &RecipientsEdit<'_>,
    plan: Plan,
) -> Result<RecipientsEdited, ImageError> {
    let wrappers = edit.add.map(Recipients::wrappers).transpose()?;
    let mut editing = Editing {
        source,
        edit,
        wrappers: wrappers.unwrap_or_default(),
        removed: vec![0; edit.remove.len()],
        unnamed: vec![0; edit.remove.len()],
        layers: 0,
        added: 0,
        unbound: 0,
    };
    let tree = Tree::of(source, &[])?;
    // Nothing at all is written before all of it is known to work.
    let held = Held::default();
    let mut following = Following::default();
    let root = tree.rebuild(&held, &mut |manifest, role| {
        let (former, stays) = (manifest.id.digest, Published::as_it_is(&manifest));
        let new = editing.one(manifest, role)?;
        if role == Role::Image {
            following.add(former, stays.or(new.as_ref()), None);
        }
        Ok(new)
    })?;
    editing.check()?;
    if plan == Plan::Do {
        held.write(target)?;
        following.arrive(source, target, &root, None)?;
        if source.root().map_err(ImageError::Source)? != tree.root {
            return Err(ImageError::ChangedMeanwhile);
        }
        target.publish(&root).map_err(ImageError::Target)?;
    }
    Ok(RecipientsEdited {
        former: tree.root.id().digest,
        digest: root.id().digest,
        layers: editing.layers,
        added: editing.added,
        removed: editing.removed.iter().sum(),
        unbound: editing.unbound,
    })
}

struct Editing<'a> {
    source: &'a dyn ImageSource,
    edit: &'a RecipientsEdit<'a>,
    wrappers: Vec<Box<dyn PacketWrapper>>,
    /// For each selector.
    removed: Vec<usize>,
    /// For each selector: recipients in layers where it met nobody, of whom the packets do not tell who they are.
    unnamed: Vec<usize>,
    layers: usize,
    added: usize,
    unbound: usize,
}

impl Editing<'_> {
    fn check(&self) -> Result<(), ImageError> {
        if self.layers == 0 {
            return Err(ImageError::NotEncrypted);
        }
        let mut counted = self.edit.remove.iter().zip(&self.unnamed);
        // Who is named in one layer and not in another would go from the one, and go on to open the other.
        if let Some((selector, _)) =
            counted.find(|(selector, unnamed)| selector.is_key_id() && **unnamed > 0)
        {
            let selector = selector.to_string();
            return Err(ImageError::UnnamedRecipients { selector });
        }
        let mut counted = self.edit.remove.iter().zip(&self.removed);
        match counted.find(|(_, removed)| **removed == 0) {
            Some((selector, _)) => Err(ImageError::NoSuchRecipient {
                selector: selector.to_string(),
            }),
            None => Ok(()),
        }
    }

    fn remove_from(&mut self, layer: &mut Descriptor) -> Result<(), ImageError> {
        let before = self.removed.clone();
        let unnamed = packets::unnamed(layer)?;
        packets::remove(layer, &self.edit.remove, &mut self.removed)?;
        let met = self.removed.iter().zip(before);
        for (count, (after, before)) in self.unnamed.iter_mut().zip(met) {
            if *after == before {
                *count += unnamed;
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        mut manifest: Manifest,
        role: Role,
    ) -> Result<Option<RawManifest>, ImageError> {
        let encrypted = |layer: &Descriptor| media_type::is_encrypted(&layer.media_type);
        if role == Role::Beside || !manifest.layers.iter().any(encrypted) {
            return Ok(None);
        }
        let packets = self.new_packets(&manifest)?;
        for (index, (layer, new)) in manifest.layers.iter_mut().zip(packets).enumerate() {
            if !encrypted(layer) {
                continue;
            }
            self.layers += 1;
            self.remove_from(layer)?;
            packets::add(layer, &new)?;
            self.added += new.len();
            packets::check(index, layer)?;
        }
        manifest.to_raw().map(Some)
    }

    /// The packets for those who come, for each layer; the bindings stay true, since all that they name stays.
    fn new_packets(&mut self, manifest: &Manifest) -> Result<Vec<Vec<KeyPacket>>, ImageError> {
        if self.wrappers.is_empty() {
            return Ok(vec![Vec::new(); manifest.layers.len()]);
        }
        let config = Config::fetch(self.source, manifest)?;
        let opened = open_all(manifest, &config, &self.edit.openers, Unbound::Accept)?;
        let loose = opened.iter().flatten().filter(|opened| !opened.is_bound());
        self.unbound += loose.count();
        let keys: Vec<_> = opened
            .iter()
            .enumerate()
            .filter_map(|(index, opened)| Some((index, opened.as_ref()?.private())))
            .collect();
        let mut packets = wrap_all(&Run::new(&Silent), &keys, &self.wrappers)?.into_iter();
        let each = opened.iter().map(|opened| match opened {
            Some(_) => packets.next().unwrap_or_default(),
            None => Vec::new(),
        });
        Ok(each.collect())
    }
}
