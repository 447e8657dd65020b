//! All file access that must be atomic or must explain itself: reads that name
//! the path, writes that appear whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the temporary files of this process.
static TURN: AtomicU64 = AtomicU64::new(0);

/// A failed file operation, with what was attempted and on what.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} `{}`", path.display())]
pub struct FileError {
    /// What was attempted: `read`, `write`, `create`.
    pub action: &'static str,
    /// The path as given.
    pub path: PathBuf,
    /// The system's answer.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Turns an [`io::Error`] into a [`FileError`]: for `map_err`.
    pub fn with(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }

    /// Whether the file was not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// What to do about an error behind which a disk stands that is full or
/// failing; none for any other error.
#[must_use]
pub fn disk_hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    /// The system's number for an error of input or output.
    const EIO: i32 = 5;
    let what = |cause: &io::Error| match cause.kind() {
        io::ErrorKind::StorageFull => Some("free some space on that disk"),
        io::ErrorKind::QuotaExceeded => Some("free some of your space on that disk, or have your quota raised"),
        _ if cfg!(unix) && cause.raw_os_error() == Some(EIO) => {
            Some("see in the system's log what is wrong with that disk")
        }
        _ => None,
    };
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    let what = chain.find_map(|error| error.downcast_ref().and_then(what))?;
    Some(format!("{what}, then run again: what is finished is kept"))
}

/// Reads a whole file as UTF-8.
///
/// # Errors
/// [`FileError`] if it cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(FileError::with("read", path))
}

/// Reads a whole file.
///
/// # Errors
/// [`FileError`] if it cannot be read.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(FileError::with("read", path))
}

/// How many bytes a file has.
///
/// # Errors
/// [`FileError`] if it cannot be looked at.
pub fn size(path: &Path) -> Result<u64, FileError> {
    Ok(fs::metadata(path).map_err(FileError::with("read", path))?.len())
}

/// Makes a folder and those above it; one that is there already is fine. A new
/// one is synced into the folder above it: else a power cut could take it away
/// with all that was synced inside of it.
///
/// # Errors
/// [`FileError`] if it cannot be made or synced.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = folder_of(path);
    create_folder(parent)?;
    match fs::create_dir(path) {
        // Another may have made it meanwhile.
        Err(_) if path.is_dir() => {}
        made => made.map_err(FileError::with("create", path))?,
    }
    sync_folder(parent)
}

/// The folder that a path stands in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn sync_folder(path: &Path) -> Result<(), FileError> {
    fs::File::open(path).and_then(|folder| folder.sync_all()).map_err(FileError::with("sync", path))
}

/// Writes a file so that a reader sees the old content or the whole new one:
/// a temporary file beside it, synced, renamed, and the folder synced.
///
/// # Errors
/// [`FileError`] if any step fails; the old content is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    create_folder(folder_of(path))?;
    let mut file = Replacement::create(path)?;
    file.write_all(bytes).map_err(FileError::with("write", path))?;
    file.publish()
}

/// A file being written beside the one that it will be. Dropped before it is
/// published, it leaves nothing.
#[derive(Debug)]
pub struct Replacement {
    file: fs::File,
    temporary: PathBuf,
    to: PathBuf,
}

impl Replacement {
    /// Starts a file that is to be `to`.
    ///
    /// # Errors
    /// [`FileError`] if nothing can be made in its folder.
    pub fn create(to: &Path) -> Result<Self, FileError> {
        let name = to.file_name().and_then(|n| n.to_str()).unwrap_or("file");
        // Two threads may write the same file: each has a temporary file of its own.
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let temporary = folder_of(to).join(format!(".{name}.{}-{turn}.tmp", std::process::id()));
        let file = fs::File::create(&temporary).map_err(FileError::with("write", to))?;
        Ok(Self { file, temporary, to: to.to_owned() })
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// [`FileError`] if a step fails; what was there before is then still there.
    pub fn publish(self) -> Result<(), FileError> {
        self.file.sync_all().map_err(FileError::with("write", &self.to))?;
        publish(&self.temporary, &self.to)
    }
}

impl Write for Replacement {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // Once it has its name it is not there; what cannot be removed does no harm.
        fs::remove_file(&self.temporary).ok();
    }
}

/// Renames a finished, synced file to its final name and syncs the folder.
///
/// # Errors
/// [`FileError`] if the rename or the sync fails.
pub fn publish(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(FileError::with("publish", to))?;
    sync_folder(folder_of(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_with_those_above_them_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        create_folder(&path).unwrap();
        create_folder(&path).unwrap();
        assert!(path.is_dir());
        write_atomically(&folder.path().join("file"), b"").unwrap();
        let error = create_folder(&folder.path().join("file/below")).unwrap_err();
        assert_eq!(error.to_string(), format!("could not create `{}`", folder.path().join("file").display()));
    }

    #[test]
    fn a_full_disk_is_found_behind_other_errors() {
        let full = |kind: io::ErrorKind| FileError::with("write", Path::new("song"))(io::Error::from(kind));
        let hint = disk_hint(&full(io::ErrorKind::StorageFull)).unwrap();
        assert_eq!(hint, "free some space on that disk, then run again: what is finished is kept");
        assert!(disk_hint(&io::Error::other(full(io::ErrorKind::StorageFull))).is_some());
        assert_eq!(disk_hint(&full(io::ErrorKind::NotFound)), None);
    }

    #[test]
    fn threads_that_write_one_file_do_not_take_each_others_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tag");
        std::thread::scope(|scope| {
            for text in ["one", "two", "three", "four"] {
                let path = &path;
                scope.spawn(move || (0..50).for_each(|_| write_atomically(path, text.as_bytes()).unwrap()));
            }
        });
        assert!(["one", "two", "three", "four"].contains(&read_text(&path).unwrap().as_str()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
