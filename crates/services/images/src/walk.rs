//! The order in which a whole image is turned into another: look at everything first, then write, then publish.

use estate::Digest;

use crate::config::Config;
use crate::copy;
use crate::error::ImageError;
use crate::manifest::{Manifest, RawManifest};
use crate::pipeline::Run;
use crate::ports::{ImageSource, ImageTarget};
use crate::select::Platform;
use crate::statement_carry::{Following, Published, Signing, Statable};
use crate::tree::{Role, Tree};

/// What is done to each manifest.
pub(crate) trait Work {
    /// Refuses what would be refused later, before anything is written.
    fn check(&self, manifest: &Manifest, config: &Config) -> Result<Checked, ImageError>;

    /// Writes the layers of the other image, and gives its manifest.
    fn convert(
        &self,
        run: &Run<'_>,
        manifest: Manifest,
        config: &Config,
    ) -> Result<RawManifest, ImageError>;

    /// What is wrong when no manifest had a layer to work on.
    fn nothing(&self) -> ImageError;

    /// What is said of the images under their new manifests, beside what was said before.
    fn signing(&self) -> Option<&Signing<'_>> {
        None
    }
}

/// What was found in one manifest, or in all of them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Checked {
    /// Bytes to read.
    pub(crate) bytes: u64,
    /// Layers to work on.
    pub(crate) layers: usize,
    /// Of these, layers that are encrypted already.
    pub(crate) kept: usize,
    /// Layers that are copied as they are, and readable.
    pub(crate) readable: usize,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// What the source's name stood for.
    pub(crate) former: Digest,
    pub(crate) root: Digest,
    pub(crate) done: Checked,
    /// Documents beside the image, such as a builder's attestations, that were copied as they are.
    pub(crate) copied: usize,
}

/// One image on its way from `source` to `target`.
pub(crate) struct Walk<'a> {
    pub(crate) source: &'a dyn ImageSource,
    pub(crate) target: &'a dyn ImageTarget,
    pub(crate) run: Run<'a>,
    /// Of several platforms only these; all when it is empty.
    pub(crate) platforms: &'a [Platform],
}

impl Walk<'_> {
    /// Does all of it.
    pub(crate) fn through(&self, work: &dyn Work) -> Result<Written, ImageError> {
        let tree = Tree::of(self.source, self.platforms)?;
        let total = self.check(&tree, work)?;
        self.run.progress.started(total.bytes);
        let mut copied = 0;
        let mut following = Following::default();
        let root = tree.rebuild(self.target, &mut |manifest, role| match role {
            Role::Image => self.convert(work, manifest, &mut following).map(Some),
            Role::Beside => {
                copied += 1;
                self.copy_blobs(&manifest).map(|()| None)
            }
        })?;
        // The last moment at which nothing has happened yet.
        if self.run.progress.cancelled() {
            return Err(ImageError::Cancelled);
        }
        following.arrive(self.source, self.target, &root, work.signing())?;
        self.target.publish(&root).map_err(ImageError::Target)?;
        Ok(Written {
            former: tree.root.id().digest,
            root: root.id().digest,
            done: total,
            copied,
        })
    }

    /// What would be done, without doing it.
    pub(crate) fn preview(&self, work: &dyn Work) -> Result<Checked, ImageError> {
        self.check(&Tree::of(self.source, self.platforms)?, work)
    }

    fn check(&self, tree: &Tree<'_>, work: &dyn Work) -> Result<Checked, ImageError> {
        let mut total = Checked::default();
        tree.visit(&mut |manifest, role, _| {
            if role == Role::Beside {
                return Ok(());
            }
            let config = Config::fetch(self.source, manifest)?;
            let checked = work.check(manifest, &config)?;
            total.bytes = total.bytes.saturating_add(checked.bytes);
            total.layers += checked.layers;
            total.kept += checked.kept;
            total.readable += checked.readable;
            Ok(())
        })?;
        if total.layers == 0 {
            return Err(work.nothing());
        }
        Ok(total)
    }

    fn convert(
        &self,
        work: &dyn Work,
        manifest: Manifest,
        following: &mut Following,
    ) -> Result<RawManifest, ImageError> {
        let config = Config::fetch(self.source, &manifest)?;
        let (from, identity) = (manifest.id.digest, manifest.config.id.digest);
        let signing = work.signing();
        let statable = signing.map(|_| Statable::of(&manifest, &config));
        let statable = statable.transpose()?;
        copy::bytes(self.target, &config.bytes)?;
        let new = work.convert(&self.run, manifest, &config)?;
        following.add(from, Published::new(&new, identity), statable);
        Ok(new)
    }

    fn copy_blobs(&self, manifest: &Manifest) -> Result<(), ImageError> {
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            copy::blob(&self.run, self.source, self.target, blob.id)?;
        }
        Ok(())
    }
}
