//! The estate's files as they lie in a folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use estate::{Estate, PolicyVersion};
use policy::Policies;

use crate::{connection::unreadable, output::CommandError};

/// Where the estate's files are.
#[derive(Debug, Clone, Args)]
pub(crate) struct FolderArgs {
    /// Folder with the estate's files.
    #[arg(short = 'f', long = "folder", value_name = "DIR")]
    folder: PathBuf,
}

impl FolderArgs {
    /// The estate in this folder.
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The files that belong to the estate, by path; notes and hidden files stay where they are.
    ///
    /// # Errors
    /// [`CommandError`]
    pub(crate) fn files(&self) -> Result<Vec<(String, String)>, CommandError> {
        read(&self.folder)
    }

    /// The rules of the estate, loaded as the server would load them.
    ///
    /// # Errors
    /// [`CommandError`] with the first mistake.
    pub(crate) fn policies(&self) -> Result<Policies, CommandError> {
        let estate = Estate::parse(&self.files()?)
            .map_err(|error| CommandError::failed(error.to_string()))?;
        Policies::load(&estate, PolicyVersion(0))
            .map_err(|error| CommandError::failed(error.to_string()))
    }
}

/// Reads a folder's estate.
///
/// # Errors
/// [`CommandError`]
pub(crate) fn read(folder: &Path) -> Result<Vec<(String, String)>, CommandError> {
    let mut files = Vec::new();
    let mut total = 0;
    collect(folder, "", &mut files, &mut total)?;
    if files.is_empty() {
        return Err(CommandError::usage(format!(
            "`{}` holds no estate",
            folder.display()
        )));
    }
    files.sort();
    Ok(files)
}

fn collect(
    folder: &Path,
    prefix: &str,
    files: &mut Vec<(String, String)>,
    total: &mut usize,
) -> Result<(), CommandError> {
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| CommandError::usage(format!("`{}` is no UTF-8 name", path.display())))?;
        let relative = format!("{prefix}{name}");
        if !Estate::belongs(&relative) {
            continue;
        }
        let kind = entry
            .file_type()
            .map_err(|error| unreadable(&path, &error))?;
        if kind.is_dir() {
            collect(&path, &format!("{relative}/"), files, total)?;
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        *total += text.len();
        if *total > MAX_TOTAL {
            return Err(CommandError::usage(format!(
                "an estate has at most {} MiB",
                MAX_TOTAL >> 20
            )));
        }
        files.push((relative, text));
    }
    Ok(())
}

/// What the server accepts, less what JSON adds.
const MAX_TOTAL: usize = 6 << 20;
