//! Unix sockets as files of the node: what stands at the path always has the mode that was meant.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        net::{UnixListener as StdListener, UnixStream as StdStream},
    },
    path::{Path, PathBuf},
};

use tokio::{
    net::{UnixListener, UnixStream},
    time::{Duration, sleep},
};

/// No socket was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnixListenError {
    /// Fault: whoever started a second agent.
    #[error("something listens on `{}` already", .path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// Fault: the configuration, or this machine.
    #[error("can't listen on `{}`", .path.display())]
    Bind {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Who may connect to a socket; whoever does is looked at all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Every process that sees the path: workloads of any user.
    Everybody,
    /// Root.
    Root,
}

/// Listens on `path`; a socket that nobody listens on any more is replaced. Folders that are missing are made. Needs a tokio
/// run-time.
///
/// # Errors
/// [`UnixListenError`]
pub fn listen(path: &Path, access: Access) -> Result<UnixListener, UnixListenError> {
    if StdStream::connect(path).is_ok() {
        return Err(UnixListenError::Taken {
            path: path.to_owned(),
        });
    }
    bind(path, access).map_err(|source| UnixListenError::Bind {
        path: path.to_owned(),
        source,
    })
}

/// Under another name first: the path appears when the mode is right.
fn bind(path: &Path, access: Access) -> io::Result<UnixListener> {
    let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name");
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(no_name)?;
    let folder = path.parent().ok_or_else(no_name)?;
    if !folder.as_os_str().is_empty() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)?;
    }
    if fs::symlink_metadata(path)
        .is_ok_and(|found| !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()))
    {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something else than a socket has this path",
        ));
    }
    let first = folder.join(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_file(&first);
    let listener = StdListener::bind(&first)?;
    let mode = match access {
        Access::Everybody => 0o777,
        Access::Root => 0o600,
    };
    fs::set_permissions(&first, Permissions::from_mode(mode))?;
    fs::rename(&first, path)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// The next connection; what fails for a moment (no descriptors left, a peer that is gone) is waited out.
pub(crate) async fn accept(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
