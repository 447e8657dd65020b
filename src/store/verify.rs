//! Reads everything in a store and says what is not as it was written, what
//! that costs and what to do; and does it. Decides nothing about stages: what
//! is moved out of the way is made again by the next run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use serde::Serialize;

use super::error::StoreError;
use super::guard::{PINS, is_living};
use super::inventory::{Found, Inventory, RunFolder};
use super::record::Manifest;
use super::{LastRun, Store, ledger, log};
use crate::ground::files::{self, FileError};
use crate::ground::{ContentHash, hash_file};

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// It is not what was written.
    Damaged,
    /// It names an artifact that is gone or damaged.
    Missing,
    /// A record for looking back that was cut short; nothing is decided by it.
    Torn,
    /// A temporary file that a dead process left.
    Leftover,
    /// Refrain did not write it.
    Foreign,
}

impl Trouble {
    /// Whether results are lost by it; the others are only worth a word.
    #[must_use]
    pub fn is_damage(self) -> bool {
        matches!(self, Self::Damaged | Self::Missing)
    }
}

/// One file that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, in a word.
    pub trouble: Trouble,
    /// What is wrong.
    pub what: String,
    /// What that costs.
    pub cost: String,
    /// What repairing does.
    pub remedy: String,
    /// Whether that was done.
    pub repaired: bool,
    #[serde(skip)]
    subject: Subject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Object(ContentHash),
    Manifest(ContentHash),
    Record,
    Leftover,
    /// Never touched.
    Other,
}

/// What was read, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Artifacts that were read.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Manifests that were read.
    pub manifests: usize,
    /// Records of runs that were read.
    pub runs: usize,
    /// What is not as it should be, by path.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// How many files are damaged or missing and were not repaired.
    #[must_use]
    pub fn damage(&self) -> usize {
        self.findings.iter().filter(|finding| finding.trouble.is_damage() && !finding.repaired).count()
    }

    /// How many results the next run will make again because of what was repaired.
    #[must_use]
    pub fn to_make_again(&self) -> usize {
        let lost = |finding: &&Finding| finding.repaired && matches!(finding.subject, Subject::Manifest(_));
        self.findings.iter().filter(lost).count()
    }
}

impl Store {
    /// Reads every artifact and every record and compares them with their
    /// hashes. Changes nothing. `progress` is told how many of how many bytes
    /// have been read.
    ///
    /// # Errors
    /// [`StoreError::File`] if a folder of the store cannot be listed.
    pub fn verify(&self, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Verification, StoreError> {
        let inventory = Inventory::of(self)?;
        let manifests: Vec<(&Found, ContentHash, Result<Manifest, String>)> =
            inventory.manifests.par_iter().map(|(key, found)| (found, *key, read_manifest(&found.path, key))).collect();
        let bad = bad_objects(&inventory, progress);
        let mut users: BTreeMap<ContentHash, usize> = BTreeMap::new();
        let mut findings = Vec::new();
        for (found, key, manifest) in &manifests {
            match manifest {
                Ok(manifest) => {
                    manifest.outputs.values().for_each(|artifact| *users.entry(artifact.hash).or_default() += 1);
                    findings.extend(self.lost_outputs(&found.path, manifest, &bad));
                }
                Err(why) => findings.push(Finding {
                    what: format!("the record of a result is damaged: {why}"),
                    cost: "that result is made again when it is needed".to_owned(),
                    ..aside(&found.path, Trouble::Damaged, Subject::Manifest(*key))
                }),
            }
        }
        for (hash, why) in &bad {
            let cost = match users.get(hash) {
                None => "nothing: no result uses it".to_owned(),
                Some(1) => "the one result that uses it".to_owned(),
                Some(many) => format!("the {many} results that use it"),
            };
            let path = self.object_path(hash);
            let what = format!("the artifact is damaged: {why}");
            findings.push(Finding { what, cost, ..aside(&path, Trouble::Damaged, Subject::Object(*hash)) });
        }
        findings.extend(small_matters(&inventory));
        findings.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Verification {
            objects: inventory.objects.len(),
            bytes: inventory.objects.values().map(|found| found.stamp.size).sum(),
            manifests: manifests.len(),
            runs: inventory.runs.len(),
            findings,
        })
    }

    /// Does what the findings say: moves damaged files, and records of results
    /// whose artifacts are gone, to `set-aside/`, so that the next run makes
    /// them again. Each is looked at once more before it is moved; foreign
    /// files are never touched. Waits for runs to finish what they publish.
    ///
    /// # Errors
    /// [`StoreError::File`] if a file cannot be moved; what was repaired before
    /// that is marked.
    pub fn repair(&self, verification: &mut Verification) -> Result<(), StoreError> {
        let _sole = self.sole()?;
        // Artifacts first: the records of their results are then seen to lack them.
        verification.findings.sort_by_key(|finding| !matches!(finding.subject, Subject::Object(_)));
        for finding in &mut verification.findings {
            let path = &finding.path;
            let due = match finding.subject {
                Subject::Object(hash) => hash_file(path).is_ok_and(|found| found != hash),
                Subject::Manifest(key) => match read_manifest(path, &key) {
                    Ok(manifest) => {
                        manifest.outputs.values().any(|artifact| !self.object_path(&artifact.hash).exists())
                    }
                    Err(_) => path.exists(),
                },
                Subject::Record | Subject::Leftover => path.exists(),
                Subject::Other => continue,
            };
            if due && finding.subject == Subject::Leftover {
                fs::remove_file(path).map_err(FileError::with("remove", path))?;
            } else if due {
                self.set_aside(path)?;
            }
            finding.repaired = true;
        }
        verification.findings.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    /// The record of a result whose artifacts are not all there and whole.
    fn lost_outputs(&self, path: &Path, manifest: &Manifest, bad: &BTreeMap<ContentHash, String>) -> Option<Finding> {
        let lost = manifest.outputs.iter().find_map(|(output, artifact)| {
            let gone = || fs::metadata(self.object_path(&artifact.hash)).is_err();
            let how = if bad.contains_key(&artifact.hash) {
                "is damaged"
            } else if gone() {
                "is gone"
            } else {
                return None;
            };
            Some(format!("its output `{output}` ({}) {how}", artifact.hash.short()))
        });
        let took = format!("it took {:.1} s and {} requests", manifest.seconds, manifest.requests);
        Some(Finding {
            what: lost?,
            cost: format!("`{}` of `{}` is made again ({took})", manifest.instance, manifest.pipeline),
            ..aside(path, Trouble::Missing, Subject::Manifest(manifest.key))
        })
    }
}

/// A finding about a file that repairing moves out of the way.
fn aside(path: &Path, trouble: Trouble, subject: Subject) -> Finding {
    let remedy = "move it to set-aside/".to_owned();
    let (what, cost) = (String::new(), String::new());
    Finding { path: path.to_owned(), trouble, what, cost, remedy, repaired: false, subject }
}

/// The artifacts whose bytes do not have the hash that is their name, and why.
fn bad_objects(inventory: &Inventory, progress: &(dyn Fn(u64, u64) + Sync)) -> BTreeMap<ContentHash, String> {
    let total = inventory.objects.values().map(|found| found.stamp.size).sum();
    let done = AtomicU64::new(0);
    progress(0, total);
    let look = |(hash, found): (&ContentHash, &Found)| {
        let why = match hash_file(&found.path) {
            Ok(read) if read == *hash => None,
            Ok(_) => Some("its bytes do not have the hash that is its name".to_owned()),
            Err(error) if error.is_not_found() => None,
            Err(error) => Some(format!("it cannot be read ({})", error.source)),
        };
        progress(done.fetch_add(found.stamp.size, Ordering::Relaxed) + found.stamp.size, total);
        Some((*hash, why?))
    };
    inventory.objects.par_iter().filter_map(look).collect()
}

pub(super) fn read_manifest(path: &Path, key: &ContentHash) -> Result<Manifest, String> {
    let bytes = files::read_bytes(path).map_err(|error| format!("it cannot be read ({})", error.source))?;
    Manifest::of_record(bytes, key)
}

/// What is named but costs no result.
fn small_matters(inventory: &Inventory) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ended = |run: &&RunFolder| !run.files.get(PINS).is_some_and(|pins| is_living(&pins.path));
    for run in inventory.runs.iter().filter(ended) {
        let torn = run.files.iter().filter(|(name, found)| !is_record(name, &found.path));
        findings.extend(torn.map(|(_, found)| Finding {
            what: "the record of a run was cut short: it was killed, or the disk was full".to_owned(),
            cost: "nothing but the look back at that run".to_owned(),
            ..aside(&found.path, Trouble::Torn, Subject::Record)
        }));
    }
    for found in inventory.lasts.values() {
        let torn = log::read::<LastRun>(&found.path).torn;
        if torn > 0 {
            findings.push(Finding {
                what: format!("lines of what stages used last that cannot be read: {torn}"),
                cost: "nothing but the reasons of those stages, until they run again".to_owned(),
                remedy: "nothing: what can be read is used, and later lines replace them".to_owned(),
                ..aside(&found.path, Trouble::Torn, Subject::Other)
            });
        }
    }
    for found in &inventory.ledger {
        if let Err(error) = ledger::read_entries(&found.path) {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            findings.push(Finding {
                what: format!("the record of what a run spent is damaged: {why}"),
                cost: "what that run spent counts for no budget and no sum".to_owned(),
                ..aside(&found.path, Trouble::Damaged, Subject::Record)
            });
        }
    }
    for found in &inventory.leftovers {
        findings.push(Finding {
            what: "a process that died left it half-written".to_owned(),
            cost: "nothing".to_owned(),
            remedy: "remove it".to_owned(),
            ..aside(&found.path, Trouble::Leftover, Subject::Leftover)
        });
    }
    findings.extend(inventory.foreign.iter().map(|(path, why)| Finding {
        what: (*why).to_owned(),
        cost: "nothing".to_owned(),
        remedy: "nothing: it is left to you".to_owned(),
        ..aside(path, Trouble::Foreign, Subject::Other)
    }));
    findings
}

/// Whether a file of a run's folder decodes. The last line of a log may be torn:
/// its run was killed while it wrote.
fn is_record(name: &str, path: &Path) -> bool {
    let Ok(bytes) = files::read_bytes(path) else { return true };
    let decodes = |bytes: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    if path.extension().is_some_and(|extension| extension == "json") {
        return decodes(&bytes);
    }
    let whole = bytes.rsplit(|byte| *byte == b'\n').skip(1);
    !name.contains("jsonl") || whole.filter(|line| !line.is_empty()).all(decodes)
}
