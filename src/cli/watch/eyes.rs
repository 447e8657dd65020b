//! Sees when files change. The folders are watched, not the files: most editors
//! write a new file and rename it over the old one. What the system tells is
//! only a reason to look; a file has changed when it looks otherwise than before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio_util::sync::CancellationToken;

use super::super::errors::Mistake;

/// So long it must be quiet before a change is taken up: writing may take several steps.
const QUIET: Duration = Duration::from_millis(300);
/// In a folder where it is never quiet, a change is taken up after so many of these.
const MOST_QUIETS: usize = 20;
/// How often is looked whether the watch is told to end.
const TICK: Duration = Duration::from_millis(100);
/// After so many of these the files are looked at although nothing was told: some
/// file systems tell nothing.
const LOOK_AGAIN: u32 = 10;

/// What tells one state of a file from another; none where there is no file.
type Stamp = Option<(u64, Option<SystemTime>, u64)>;

/// Files, and how they looked when they were looked at last.
pub(super) struct Eyes {
    watcher: RecommendedWatcher,
    told: Receiver<()>,
    folders: BTreeMap<PathBuf, Stamp>,
    stamps: BTreeMap<PathBuf, Stamp>,
}

impl Eyes {
    /// Looks at nothing yet.
    ///
    /// # Errors
    /// [`Mistake`] if the system does not let files be watched.
    pub(super) fn open() -> Result<Self, Mistake> {
        let (sender, told) = channel();
        let tell = move |_: notify::Result<notify::Event>| {
            // Whoever listened is gone when the watch has ended.
            sender.send(()).ok();
        };
        let watcher = notify::recommended_watcher(tell).map_err(|error| refused("files", error))?;
        Ok(Self { watcher, told, folders: BTreeMap::new(), stamps: BTreeMap::new() })
    }

    /// Looks at these files and no others. Of one that was looked at before, a
    /// change since then is still one.
    ///
    /// # Errors
    /// [`Mistake`] if a folder cannot be watched.
    pub(super) fn look_at(&mut self, files: &BTreeSet<PathBuf>) -> Result<(), Mistake> {
        let before = std::mem::take(&mut self.stamps);
        self.watch_folders(files)?;
        self.stamps =
            files.iter().map(|file| (file.clone(), before.get(file).copied().unwrap_or_else(|| stamp(file)))).collect();
        Ok(())
    }

    /// Waits until one of the files has changed and it is quiet again, and
    /// gives those that have; none when `stop` is cancelled.
    ///
    /// # Errors
    /// [`Mistake`] if a folder cannot be watched any more.
    pub(super) fn wait(&mut self, stop: &CancellationToken) -> Result<Option<Vec<PathBuf>>, Mistake> {
        // What changed meanwhile may have been told of before its folder was watched.
        let mut is_told = self.changed().next().is_some();
        for tick in 1_u32.. {
            if stop.is_cancelled() {
                return Ok(None);
            }
            if is_told {
                (0..MOST_QUIETS).take_while(|_| self.told.recv_timeout(QUIET).is_ok()).for_each(drop);
                let files = self.stamps.keys().cloned().collect();
                // A folder may be there now, or be another.
                self.watch_folders(&files)?;
                let changed: Vec<PathBuf> = self.changed().map(Path::to_owned).collect();
                if !changed.is_empty() {
                    for file in &changed {
                        self.stamps.insert(file.clone(), stamp(file));
                    }
                    return Ok(Some(changed));
                }
            }
            is_told = match self.told.recv_timeout(TICK) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => tick % LOOK_AGAIN == 0 && self.changed().next().is_some(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
        }
        Ok(None)
    }

    fn changed(&self) -> impl Iterator<Item = &Path> {
        self.stamps.iter().filter(|(file, before)| stamp(file) != **before).map(|(file, _)| file.as_path())
    }

    fn watch_folders(&mut self, files: &BTreeSet<PathBuf>) -> Result<(), Mistake> {
        let wanted: BTreeMap<PathBuf, Stamp> =
            files.iter().flat_map(|file| folders(file)).map(|folder| (folder.clone(), identity(&folder))).collect();
        for (folder, before) in &self.folders {
            if wanted.get(folder) != Some(before) {
                // One that is deleted is not watched any more.
                self.watcher.unwatch(folder).ok();
            }
        }
        for (folder, now) in &wanted {
            if self.folders.get(folder) == Some(now) {
                continue;
            }
            match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                Err(error) if folder.is_dir() => {
                    return Err(refused(&format!("the folder `{}`", folder.display()), error));
                }
                // It went away meanwhile, and is looked for again.
                _ => {}
            }
        }
        self.folders = wanted;
        Ok(())
    }
}

/// What tells a folder from another that stands in its place later.
fn identity(folder: &Path) -> Stamp {
    let metadata = fs::metadata(folder).ok()?;
    Some((0, metadata.created().ok(), inode(&metadata)))
}

/// The folders in which a change of a file is seen: its own, or the nearest
/// above it that is there, and that of the file that a link leads to.
fn folders(file: &Path) -> Vec<PathBuf> {
    let Ok(file) = std::path::absolute(file) else { return Vec::new() };
    let own = file.ancestors().skip(1).find(|folder| folder.is_dir()).map(Path::to_owned);
    let behind = file.canonicalize().ok().and_then(|file| file.parent().map(Path::to_owned));
    own.into_iter().chain(behind).collect()
}

fn stamp(file: &Path) -> Stamp {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.len(), metadata.modified().ok(), inode(&metadata)))
}

/// Tells a file from one that was renamed over it.
#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}

fn refused(what: &str, error: notify::Error) -> Mistake {
    let hint = match error.kind {
        notify::ErrorKind::MaxFilesWatch => "raise the system's limit: `sysctl fs.inotify.max_user_watches`",
        _ => "plan again by hand: `refrain plan`",
    };
    Mistake::new(format!("could not watch {what} for changes")).hint(hint).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for a change that was made before; a test that hangs would say nothing.
    fn seen(eyes: &mut Eyes) -> Vec<PathBuf> {
        let stop = CancellationToken::new();
        let late = stop.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_mins(1));
            late.cancel();
        });
        eyes.wait(&stop).unwrap().expect("a change within a minute")
    }

    #[expect(clippy::disallowed_methods, reason = "nobody reads it while it is written")]
    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_file_renamed_over_another_is_a_change_and_one_beside_it_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (file, beside) = (folder.path().join("p.yaml"), folder.path().join(".p.yaml.swp"));
        write(&file, "one");
        let mut eyes = Eyes::open().unwrap();
        eyes.look_at(&BTreeSet::from([file.clone()])).unwrap();
        write(&beside, "two");
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(eyes.wait(&stop).unwrap(), None);
        fs::rename(&beside, &file).unwrap();
        assert_eq!(seen(&mut eyes), std::slice::from_ref(&file));
        write(&file, "three");
        assert_eq!(seen(&mut eyes), std::slice::from_ref(&file));
        fs::remove_file(&file).unwrap();
        assert_eq!(seen(&mut eyes), [file]);
    }

    #[test]
    fn a_file_in_a_folder_that_is_not_there_yet_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b/data.csv");
        let mut eyes = Eyes::open().unwrap();
        eyes.look_at(&BTreeSet::from([file.clone()])).unwrap();
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        write(&file, "x");
        assert_eq!(seen(&mut eyes), [file]);
    }

    #[test]
    fn what_changed_before_it_is_looked_at_again_is_still_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("p.yaml"), folder.path().join("q.csv"));
        write(&file, "one");
        let mut eyes = Eyes::open().unwrap();
        eyes.look_at(&BTreeSet::from([file.clone()])).unwrap();
        write(&file, "longer");
        eyes.look_at(&BTreeSet::from([file.clone(), other])).unwrap();
        assert_eq!(seen(&mut eyes), [file]);
    }
}
