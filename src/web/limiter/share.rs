//! One state for all processes of a user that use a limiter: a small file,
//! locked while it is read and replaced. Where it cannot be used, the process
//! is told so once and limits by itself.
//!
//! The file holds the state of the last minute and day and never grows. Its
//! lock dies with the process that holds it. Its times count from a start of
//! its own that survives reboots: what passed while the machine was down is
//! taken from the wall clock, and all else from the clock that nobody sets.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::state::State;
use crate::ground::{Clock, ContentHash};
use crate::web::settings::OnWarning;
use crate::web::timer::Timer;

/// How often another process' lock is waited for, and how long each time: it
/// is held for less than a millisecond.
const LOCK_ATTEMPTS: u32 = 1000;
const LOCK_PAUSE: Duration = Duration::from_micros(200);
/// After so long nothing in a file counts any more.
const UNUSED: Duration = Duration::from_hours(72);
/// The largest file that is read: far more than is ever written.
const MOST_BYTES: u64 = 1 << 20;

/// The state of one limiter.
#[derive(Debug)]
pub(super) struct Shared {
    name: String,
    file: Option<PathBuf>,
    timer: Arc<dyn Timer>,
    clock: Arc<dyn Clock>,
    start: String,
    on_warning: OnWarning,
    /// Whether the file has failed.
    alone: AtomicBool,
    kept: Mutex<Kept>,
}

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// What the timer counts from: [`Timer::start`].
    start: String,
    /// Nanoseconds that the timer's time lacks to the state's.
    offset: i64,
    /// The state's time when this was written.
    at: Duration,
    /// The same by the wall clock, in milliseconds since 1970.
    wall: u64,
    state: State,
}

impl Shared {
    /// The state in `file`, or of this process alone.
    pub(super) fn new(
        name: &str,
        file: Option<PathBuf>,
        timer: Arc<dyn Timer>,
        clock: Arc<dyn Clock>,
        on_warning: OnWarning,
    ) -> Self {
        let start = timer.start();
        let kept = Mutex::new(Kept { start: start.clone(), ..Kept::default() });
        Self { name: name.to_owned(), file, timer, clock, start, on_warning, alone: AtomicBool::new(false), kept }
    }

    /// Acts on the state at its time now; what was changed holds for all.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State, Duration) -> T) -> T {
        self.enter(true, act)
    }

    /// Looks at the state as it is now.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State, Duration) -> T) -> T {
        self.enter(false, |state, now| look(state, now))
    }

    fn enter<T>(&self, changes: bool, act: impl FnOnce(&mut State, Duration) -> T) -> T {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.locked_file();
        if let Some((path, file)) = &file {
            match read(file) {
                Ok(Some(found)) => *kept = found,
                Ok(None) => {}
                Err(Unreadable::Torn) => self.on_warning.tell(&format!(
                    "the record of the limiter `{}` in `{}` was damaged; what was used before is not known",
                    self.name,
                    path.display()
                )),
                Err(Unreadable::Io(error)) => self.leave(&error, "read", path),
            }
        }
        let now = kept.now(&self.start, self.timer.now(), self.clock.now_millis());
        let result = act(&mut kept.state, now);
        if let Some((path, file)) = file.as_ref().filter(|_| changes) {
            kept.state.forget(now);
            if let Err(error) = write(file, &kept) {
                self.leave(&error, "write", path);
            }
        }
        result
    }

    /// The file, locked until it is dropped; none if there is none to share.
    fn locked_file(&self) -> Option<(&Path, File)> {
        let path = self.file.as_deref().filter(|_| !self.alone.load(Ordering::Relaxed))?;
        match open(path).and_then(|file| lock(file, LOCK_ATTEMPTS)) {
            Ok(Some(file)) => Some((path, file)),
            Ok(None) => {
                self.leave(&std::io::ErrorKind::WouldBlock.into(), "lock", path);
                None
            }
            Err(error) => {
                self.leave(&error, "open", path);
                None
            }
        }
    }

    /// The file is of no use: from now on this process limits by itself.
    fn leave(&self, error: &std::io::Error, action: &str, path: &Path) {
        if !self.alone.swap(true, Ordering::Relaxed) {
            self.on_warning.tell(&format!(
                "the limiter `{}` holds for this run alone, not for others at the same time: could not {action} `{}` ({error})",
                self.name,
                path.display()
            ));
        }
    }
}

impl Kept {
    /// The state's time, where the timer that counts from `start` shows `timer`
    /// and the wall clock `wall`. After a reboot the offset is made anew.
    fn now(&mut self, start: &str, timer: Duration, wall: u64) -> Duration {
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let by = |offset: i64| Duration::from_nanos(nanos(timer).saturating_add(offset).max(0).unsigned_abs());
        let went_back = by(self.offset) + Duration::from_secs(1) < self.at;
        if self.start != start || went_back {
            // A wall clock that was set back meanwhile makes it wait longer, never shorter.
            let passed = Duration::from_millis(wall.saturating_sub(self.wall));
            let passed = if self.wall == 0 { Duration::ZERO } else { passed };
            self.offset = nanos(self.at + passed).saturating_sub(nanos(timer));
            start.clone_into(&mut self.start);
        }
        (self.at, self.wall) = (by(self.offset).max(self.at), wall);
        self.at
    }
}

/// Opens a file of the shared folder, or makes it.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    let options = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    match options() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            options()
        }
        opened => opened,
    }
}

/// Locks a file, which another process may hold for a moment; none if it holds
/// it for longer.
pub(super) fn lock(file: File, attempts: u32) -> std::io::Result<Option<File>> {
    for attempt in 0..attempts {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(std::fs::TryLockError::WouldBlock) if attempt + 1 < attempts => std::thread::sleep(LOCK_PAUSE),
            Err(std::fs::TryLockError::WouldBlock) => {}
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// Removes the files of limiters that nobody has used for so long that nothing
/// in them counts: sandboxes have another port each time. What cannot be
/// removed does no harm.
pub(super) fn sweep(folder: &Path, now_millis: u64) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let is_old = |path: &Path| {
        let modified = std::fs::metadata(path).and_then(|about| about.modified()).ok();
        let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        since.is_some_and(|since| since + UNUSED < Duration::from_millis(now_millis))
    };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    for state in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "json") && is_old(path)) {
        let belongs = |path: &&PathBuf| path.file_stem() == state.file_stem();
        for path in paths.iter().filter(belongs) {
            std::fs::remove_file(path).ok();
        }
    }
}

enum Unreadable {
    Torn,
    Io(std::io::Error),
}

/// The first line is the hash of the second, which is JSON; what may follow is
/// what an earlier, longer content has left.
fn read(file: &File) -> Result<Option<Kept>, Unreadable> {
    let mut text = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut text).map_err(Unreadable::Io)?;
    if text.is_empty() {
        return Ok(None);
    }
    let mut lines = text.split(|byte| *byte == b'\n');
    let (Some(hash), Some(json)) = (lines.next(), lines.next()) else { return Err(Unreadable::Torn) };
    if ContentHash::of(json).to_string().as_bytes() != hash {
        return Err(Unreadable::Torn);
    }
    serde_json::from_slice(json).map(Some).map_err(|_| Unreadable::Torn)
}

fn write(file: &File, kept: &Kept) -> std::io::Result<()> {
    let json = serde_json::to_vec(kept)?;
    let mut text = ContentHash::of(&json).to_string().into_bytes();
    text.push(b'\n');
    text.extend_from_slice(&json);
    text.push(b'\n');
    file.write_all_at(&text, 0)?;
    file.set_len(text.len() as u64)
}

/// The name of a limiter's files: the limiter's and the server's. Characters
/// that file systems may mind are written by their numbers.
pub(super) fn stem(limiter: &str, server: &str) -> String {
    let safe = |character: char| match character {
        '@' | '.' | '-' | '_' => character.to_string(),
        letter if letter.is_ascii_alphanumeric() => letter.to_string(),
        other => format!("%{:x}", u32::from(other)),
    };
    let stem: String = format!("{limiter}@{server}").chars().map(safe).collect();
    if stem.len() <= 120 { stem } else { ContentHash::of(stem.as_bytes()).to_string() }
}
