//! Whom a pseudonym stands for. A store that hides people's names has a salt
//! and a list of names in files of its own, which are no artifacts and which
//! only their owner may read:
//!
//! ```text
//! people-v1/salt          32 random bytes in hexadecimal digits, made once
//! people-v1/names.jsonl   {"id":"~0f3a…","name":"RJ"}, one line for each pseudonym given
//! people-v1/lock          held while one of them is written
//! ```
//!
//! Without the salt a pseudonym cannot be made from a name, so nobody finds out
//! who is who by trying all the names there are. Knows nothing of stages.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::ground::files::{self, FileError};
use crate::ground::{ContentHash, Hasher};

/// What pseudonyms begin with, and no name does.
const MARK: char = '~';
/// How many hexadecimal digits follow.
const DIGITS: usize = 20;

/// The people of one store. Nothing is opened or made before it is needed.
#[derive(Debug)]
pub struct People {
    folder: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    salt: Option<ContentHash>,
    names: Option<BTreeMap<String, String>>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: String,
    name: String,
}

/// Whether a user's id is a pseudonym.
#[must_use]
pub fn is_pseudonym(id: &str) -> bool {
    id.starts_with(MARK)
}

impl People {
    /// The people that are known in a folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    /// What tells this store's pseudonyms from another's, and tells nothing of
    /// the salt. The salt is made if there is none.
    ///
    /// # Errors
    /// [`FileError`] if the salt can neither be read nor made.
    pub fn salt_id(&self) -> Result<String, FileError> {
        Ok(Hasher::new("refrain salt id v1").field(self.salt()?.as_bytes()).finish().short())
    }

    /// The pseudonym of a name, whatever its case.
    ///
    /// # Errors
    /// [`FileError`] if the salt can neither be read nor made.
    pub fn pseudonym(&self, name: &str) -> Result<String, FileError> {
        let mut hasher = Hasher::new("refrain pseudonym v1");
        hasher.field(self.salt()?.as_bytes()).field(name.to_lowercase().as_bytes());
        let digits: String = hasher.finish().to_string().chars().take(DIGITS).collect();
        Ok(format!("{MARK}{digits}"))
    }

    /// The pseudonyms of names, which are then known to [`People::name_of`], on
    /// the disk as well.
    ///
    /// # Errors
    /// [`FileError`] if they cannot be kept.
    pub fn remember<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<Vec<String>, FileError> {
        let given = names.into_iter().map(|name| Ok((self.pseudonym(name)?, name)));
        let given: Vec<(String, &str)> = given.collect::<Result<_, FileError>>()?;
        let _lock = self.lock()?;
        let mut known = self.read_names()?;
        let mut lines = String::new();
        for (id, name) in &given {
            if !known.contains_key(id) {
                let line = Line { id: id.clone(), name: (*name).to_owned() };
                lines.push_str(&serde_json::to_string(&line).map_err(io::Error::from).map_err(self.failed("write"))?);
                lines.push('\n');
                known.insert(line.id, line.name);
            }
        }
        if !lines.is_empty() {
            self.append(&lines)?;
        }
        self.open.lock().unwrap_or_else(PoisonError::into_inner).names = Some(known);
        Ok(given.into_iter().map(|(id, _)| id).collect())
    }

    /// Whom a pseudonym stands for, if this store has given it.
    ///
    /// # Errors
    /// [`FileError`] if the names are there and cannot be read.
    pub fn name_of(&self, id: &str) -> Result<Option<String>, FileError> {
        let known = |open: &Open| open.names.as_ref().and_then(|names| names.get(id).cloned());
        if let Some(name) = known(&self.open.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(Some(name));
        }
        // Another process may have given it meanwhile.
        let names = self.read_names()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.names = Some(names);
        Ok(known(&open))
    }

    fn salt(&self) -> Result<ContentHash, FileError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(salt) = open.salt {
            return Ok(salt);
        }
        let path = self.folder.join("salt");
        let salt = if path.exists() {
            read_salt(&path)?
        } else {
            let _lock = self.lock()?;
            if path.exists() { read_salt(&path)? } else { make_salt(&path)? }
        };
        open.salt = Some(salt);
        Ok(salt)
    }

    /// A line that a dead process left half written is none.
    fn read_names(&self) -> Result<BTreeMap<String, String>, FileError> {
        match files::read_text(&self.folder.join("names.jsonl")) {
            Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()).fold(
                BTreeMap::new(),
                |mut names, line| {
                    names.insert(line.id, line.name);
                    names
                },
            )),
            Err(error) if error.is_not_found() => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    fn append(&self, lines: &str) -> Result<(), FileError> {
        let path = self.folder.join("names.jsonl");
        let is_torn = fs::read(&path).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
        let written = private(&path).and_then(|mut file| {
            if is_torn {
                file.write_all(b"\n")?;
            }
            file.write_all(lines.as_bytes())?;
            file.sync_all()
        });
        written.map_err(FileError::with("write", &path))
    }

    fn lock(&self) -> Result<File, FileError> {
        files::create_folder(&self.folder)?;
        let path = self.folder.join("lock");
        let locked = private(&path).and_then(|file| file.lock().map(|()| file));
        locked.map_err(FileError::with("lock", &path))
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> FileError {
        FileError::with(action, &self.folder)
    }
}

/// A file that is written at its end and that only its owner may read.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn read_salt(path: &Path) -> Result<ContentHash, FileError> {
    let text = files::read_text(path)?;
    let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    text.trim().parse().map_err(damaged).map_err(FileError::with("read", path))
}

fn make_salt(path: &Path) -> Result<ContentHash, FileError> {
    let mut bytes = [0_u8; 32];
    // The system's own randomness: a salt that a seed decides would be none.
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system gives no random bytes")).map_err(FileError::with("make", path))?;
    let salt = ContentHash::from(bytes);
    let temporary = path.with_extension("tmp");
    let written = private(&temporary).and_then(|mut file| {
        // What a dead process left is not to stand before it.
        file.set_len(0)?;
        file.write_all(format!("{salt}\n").as_bytes())?;
        file.sync_all()
    });
    written.map_err(FileError::with("write", &temporary))?;
    files::publish(&temporary, path)?;
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_knows_whom_its_pseudonyms_stand_for() {
        let folder = tempfile::tempdir().unwrap();
        let people = || People::new(folder.path().join("people-v1"));
        let ids = people().remember(["RJ", "anna", "rj"]).unwrap();
        assert!(ids.iter().all(|id| is_pseudonym(id) && id.len() == 21), "{ids:?}");
        assert_eq!(ids[0], ids[2], "a name is the same in any case");
        let again = people();
        assert_eq!(again.name_of(&ids[0]).unwrap().as_deref(), Some("RJ"));
        assert_eq!(again.name_of("~nobody").unwrap(), None);
        let more = people().remember(["bert", "anna"]).unwrap();
        assert_eq!((&more[1], again.name_of(&more[0]).unwrap().as_deref()), (&ids[1], Some("bert")));
        assert_eq!(again.salt_id().unwrap(), people().salt_id().unwrap());
    }

    #[test]
    fn another_store_gives_others() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let [one, other] = [one.path(), other.path()].map(|folder| People::new(folder.to_owned()));
        assert_ne!(one.pseudonym("RJ").unwrap(), other.pseudonym("RJ").unwrap());
        assert_ne!(one.salt_id().unwrap(), other.salt_id().unwrap());
        assert!(!one.salt_id().unwrap().contains(&one.salt().unwrap().short()));
    }

    #[test]
    fn what_a_dead_process_left_half_written_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let people = || People::new(folder.path().to_owned());
        let ids = people().remember(["anna"]).unwrap();
        people().append("{\"id\":\"~ab").unwrap();
        let bert = people().remember(["bert"]).unwrap();
        let read = people();
        assert_eq!(read.name_of(&ids[0]).unwrap().as_deref(), Some("anna"));
        assert_eq!(read.name_of(&bert[0]).unwrap().as_deref(), Some("bert"));
        files::write_atomically(&folder.path().join("salt"), b"no salt").unwrap();
        let error = people().salt_id().unwrap_err();
        assert!(error.to_string().starts_with("could not read `"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_them() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        People::new(folder.path().to_owned()).remember(["anna"]).unwrap();
        for name in ["salt", "names.jsonl"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name}");
        }
    }

    #[test]
    fn threads_that_ask_first_at_once_have_one_salt() {
        let folder = tempfile::tempdir().unwrap();
        let people: Vec<People> = (0..8).map(|_| People::new(folder.path().to_owned())).collect();
        let ids: Vec<String> = std::thread::scope(|scope| {
            let asked: Vec<_> = people.iter().map(|people| scope.spawn(|| people.salt_id().unwrap())).collect();
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}
