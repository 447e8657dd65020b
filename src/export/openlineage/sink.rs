//! Where `OpenLineage` documents go: lines of a file, or the body of a POST.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ground::Environment;
use crate::ground::files::{FileError, create_folder};
use crate::web::{Deliverer, Secret};

/// The variable with the address of a server.
const URL: &str = "OPENLINEAGE_URL";
/// The variable with its key.
const API_KEY: &str = "OPENLINEAGE_API_KEY";
/// The variable with the path below a server's address.
const ENDPOINT: &str = "OPENLINEAGE_ENDPOINT";
/// The variable with the namespace of jobs.
const NAMESPACE: &str = "OPENLINEAGE_NAMESPACE";
/// The variable that turns all off.
const DISABLED: &str = "OPENLINEAGE_DISABLED";
/// So many documents in a row may fail before no more are sent.
const FAILURES: u32 = 3;

/// Where documents are to go.
#[derive(Debug)]
pub struct Target {
    place: Place,
    namespace: String,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Server(Box<Deliverer>),
}

impl Target {
    /// What the user asked for: a file or an address on the command line, else
    /// the address in the environment, else nothing.
    ///
    /// # Errors
    /// What is wrong with an address.
    pub fn choose(given: Option<&str>, environment: &Environment) -> Result<Option<Self>, String> {
        let is_off = environment.var(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let Some(given) = given.or_else(|| environment.var(URL)).filter(|_| !is_off) else { return Ok(None) };
        let namespace = environment.var(NAMESPACE).unwrap_or("refrain").to_owned();
        if given.ends_with("://") {
            return Err(format!("`{given}` names no host"));
        }
        let place = if given.starts_with("http://") || given.starts_with("https://") {
            let bearer = environment.var(API_KEY).map(Secret::new);
            Place::Server(Box::new(Deliverer::new(&address(given, environment), bearer)?))
        } else {
            Place::File(given.into())
        };
        Ok(Some(Self { place, namespace }))
    }
}

/// The address that takes events: the given one if it has a path, else the path
/// that `OpenLineage`'s clients use.
fn address(given: &str, environment: &Environment) -> String {
    let base = given.trim_end_matches('/');
    let has_path = base.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    match environment.var(ENDPOINT) {
        Some(endpoint) => format!("{base}/{}", endpoint.trim_start_matches('/')),
        None if has_path => base.to_owned(),
        None => format!("{base}/api/v1/lineage"),
    }
}

/// Takes documents, one after the other.
pub(super) struct Sink {
    out: Out,
    namespace: String,
    failures: u32,
}

enum Out {
    Lines { file: BufWriter<File>, path: PathBuf },
    Posts { server: Box<Deliverer>, runtime: tokio::runtime::Runtime },
}

impl Sink {
    /// Opens the target; lines are added to a file that is there.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn open(target: Target) -> Result<Self, FileError> {
        let out = match target.place {
            Place::File(path) => {
                if let Some(folder) = path.parent() {
                    create_folder(folder)?;
                }
                let file = OpenOptions::new().create(true).append(true).open(&path);
                Out::Lines { file: BufWriter::new(file.map_err(FileError::with("open", &path))?), path }
            }
            Place::Server(server) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(FileError::with("start", Path::new("a runtime for OpenLineage")))?;
                Out::Posts { server, runtime }
            }
        };
        Ok(Self { out, namespace: target.namespace, failures: 0 })
    }

    /// The namespace of jobs.
    pub(super) fn namespace(&self) -> String {
        self.namespace.clone()
    }

    /// Takes one document. One that a server did not take is lost; after three
    /// in a row the server is given up.
    ///
    /// # Errors
    /// Why no further document can be taken.
    pub(super) fn take(&mut self, document: &Value) -> Result<(), String> {
        match &mut self.out {
            Out::Lines { file, path } => {
                writeln!(file, "{document}").map_err(|error| format!("could not write `{}`: {error}", path.display()))
            }
            Out::Posts { server, runtime } => match runtime.block_on(server.post(document)) {
                Ok(()) => {
                    self.failures = 0;
                    Ok(())
                }
                Err(_) if self.failures + 1 < FAILURES => {
                    self.failures += 1;
                    Ok(())
                }
                Err(why) => Err(why),
            },
        }
    }

    /// Writes what is still held back.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        match &mut self.out {
            Out::Lines { file, path } => {
                file.flush().map_err(|error| format!("could not write `{}`: {error}", path.display()))
            }
            Out::Posts { .. } if self.failures > 0 => Err("the server did not take the last ones".to_owned()),
            Out::Posts { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_clients_path_unless_it_has_its_own() {
        let none = Environment::default();
        assert_eq!(address("http://h:5000/", &none), "http://h:5000/api/v1/lineage");
        assert_eq!(address("http://h:5000/take/this", &none), "http://h:5000/take/this");
        let other = Environment::from_pairs([(ENDPOINT, "/in")]);
        assert_eq!(address("http://h", &other), "http://h/in");
    }

    #[test]
    fn the_command_line_goes_before_the_environment_and_it_can_be_off() {
        let choose = |given: Option<&str>, pairs: &[(&str, &str)]| {
            let environment = Environment::from_pairs(pairs.iter().copied());
            Target::choose(given, &environment).unwrap().map(|target| matches!(target.place, Place::File(_)))
        };
        assert_eq!(choose(None, &[]), None);
        assert_eq!(choose(None, &[(URL, "http://h")]), Some(false));
        assert_eq!(choose(Some("events.jsonl"), &[(URL, "http://h")]), Some(true));
        assert_eq!(choose(Some("events.jsonl"), &[(DISABLED, "true")]), None);
        assert!(Target::choose(Some("http://"), &Environment::default()).is_err());
        let target = Target::choose(Some("http://h"), &Environment::from_pairs([(API_KEY, "hush")])).unwrap();
        assert!(!format!("{target:?}").contains("hush"), "the key is shown nowhere");
    }
}
