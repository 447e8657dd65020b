//! A folder that appears whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::ExportError;
use crate::ground::files::{FileError, create_folder, publish};

/// A folder that is being written beside its final name. Dropped before it is
/// published, it is deleted.
#[derive(Debug)]
pub(super) struct NewFolder {
    target: PathBuf,
    temporary: PathBuf,
    is_published: bool,
}

impl NewFolder {
    /// Begins a folder that is to stand at `target`.
    ///
    /// # Errors
    /// [`ExportError::NotEmpty`] if something is there; [`ExportError::File`].
    pub(super) fn begin(target: &Path) -> Result<Self, ExportError> {
        let target: PathBuf = target.components().collect();
        let taken = || ExportError::NotEmpty { path: target.clone() };
        let name = target.file_name().ok_or_else(taken)?.to_string_lossy().into_owned();
        // What cannot be listed as a folder must not be there at all.
        let is_free = match fs::read_dir(&target) {
            Ok(mut entries) => entries.next().is_none(),
            Err(_) => fs::symlink_metadata(&target).is_err(),
        };
        if !is_free {
            return Err(taken());
        }
        let temporary = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        create_folder(&temporary)?;
        Ok(Self { target, temporary, is_published: false })
    }

    /// Writes a file below the folder, with the folders above it.
    ///
    /// # Errors
    /// [`FileError`].
    #[expect(clippy::disallowed_methods, reason = "nothing stands under its final name before the whole folder does")]
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let path = self.place(name)?;
        fs::write(&path, bytes).map_err(FileError::with("write", &path))
    }

    /// Makes an empty folder below the folder.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn make(&self, name: &str) -> Result<(), FileError> {
        let path = self.temporary.join(name);
        fs::create_dir_all(&path).map_err(FileError::with("create", &path))
    }

    /// Copies a file below the folder.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn copy(&self, from: &Path, name: &str) -> Result<(), FileError> {
        let path = self.place(name)?;
        fs::copy(from, &path).map(drop).map_err(FileError::with("copy", from))
    }

    fn place(&self, name: &str) -> Result<PathBuf, FileError> {
        let path = self.temporary.join(name);
        let above = path.parent().unwrap_or(&self.temporary);
        fs::create_dir_all(above).map_err(FileError::with("create", above))?;
        Ok(path)
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    /// [`FileError`] if something was put there meanwhile.
    pub(super) fn publish(mut self) -> Result<(), FileError> {
        publish(&self.temporary, &self.target)?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.is_published {
            fs::remove_dir_all(&self.temporary).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_appears_whole_or_not_at_all() {
        let above = tempfile::tempdir().unwrap();
        let target = above.path().join("out");
        let begun = NewFolder::begin(&target).unwrap();
        begun.write("a/b", b"text").unwrap();
        assert!(!target.exists());
        drop(begun);
        assert_eq!(fs::read_dir(above.path()).unwrap().count(), 0, "nothing is left of what was given up");
        fs::create_dir(&target).unwrap();
        let begun = NewFolder::begin(&target).unwrap();
        begun.write("a/b", b"text").unwrap();
        begun.publish().unwrap();
        assert_eq!(fs::read(target.join("a/b")).unwrap(), b"text");
        let refused = NewFolder::begin(&target).unwrap_err().to_string();
        assert!(refused.ends_with("is there and is not an empty folder"), "{refused}");
        assert!(NewFolder::begin(&target.join("a/b")).is_err(), "a file is no folder");
    }
}
