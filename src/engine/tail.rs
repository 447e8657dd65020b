//! The events of a run as they are written, from whatever process: each call
//! gives what has come since the last one.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::error::EngineError;
use super::event::Event;
use super::runs::{folder, is_at_work, names, opening};
use crate::store::Store;

/// The most bytes that one call reads: what is left comes with the next one.
const MOST_BYTES: u64 = 8 << 20;

/// Reads a run's log from its beginning and follows it.
#[derive(Debug)]
pub struct Tail {
    store: Store,
    run: String,
    path: PathBuf,
    /// How much of the file has been read, up to the end of a line.
    read: u64,
}

impl Tail {
    /// Follows a run, named as it is called in the store.
    #[must_use]
    pub fn of(store: &Store, run: &str) -> Self {
        let path = folder(store, run).join("events.jsonl");
        Self { store: store.clone(), run: run.to_owned(), path, read: 0 }
    }

    /// The run's name.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Whether the run's process is at work.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        is_at_work(&self.store, &self.run)
    }

    /// The events that came since the last call. A line that is not whole yet
    /// comes when it is; what cannot be read is left out; a log that is gone has none.
    pub fn next_events(&mut self) -> Vec<Event> {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.take(MOST_BYTES).read_to_end(&mut bytes)
        });
        if read.is_err() {
            return Vec::new();
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        bytes[..whole].split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

/// The newest run of a pipeline that is at work, in whatever process. What is
/// found not to be it is noted in `others` and not looked at again: for those
/// who ask often.
///
/// # Errors
/// [`EngineError::Store`] if the runs cannot be listed.
pub fn newest_at_work(
    store: &Store,
    pipeline: &str,
    others: &mut BTreeSet<String>,
) -> Result<Option<String>, EngineError> {
    for run in names(store)? {
        if others.contains(&run) {
            continue;
        }
        let is_held = is_at_work(store, &run);
        match opening(store, &run).0 {
            Some(name) if name == pipeline && is_held => return Ok(Some(run)),
            // A run that has said who it is holds its log until it ends.
            Some(_) => drop(others.insert(run)),
            None => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn events_come_once_each_when_their_lines_are_whole() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let folder = store.run_folder("r").unwrap();
        let run = folder.file_name().unwrap().to_string_lossy().into_owned();
        let mut tail = Tail::of(&store, &run);
        assert!(tail.next_events().is_empty(), "there is no log yet");
        let mut log = File::create(folder.join("events.jsonl")).unwrap();
        let line = |text: &str| format!("{}\n", serde_json::to_string(&Event::Warning { text: text.into() }).unwrap());
        log.write_all((line("one") + "not an event\n" + &line("two")[..9]).as_bytes()).unwrap();
        assert_eq!(tail.next_events(), [Event::Warning { text: "one".into() }]);
        log.write_all(&line("two").as_bytes()[9..]).unwrap();
        assert_eq!(tail.next_events(), [Event::Warning { text: "two".into() }]);
        assert!(tail.next_events().is_empty() && !tail.is_at_work());
        log.lock().unwrap();
        let mut others = BTreeSet::new();
        let newest = |others: &mut BTreeSet<String>| newest_at_work(&store, "p", others).unwrap();
        assert!(tail.is_at_work() && newest(&mut others).is_none(), "it has not said of which pipeline it is");
        let (name, pipeline) = (run.clone(), "p".to_owned());
        let started = Event::RunStarted { run: name, pipeline, stages: 1, fresh: 0, sandbox: None, at_millis: 1 };
        drop(log);
        let log = File::create(folder.join("events.jsonl")).unwrap();
        (&log).write_all(format!("{}\n", serde_json::to_string(&started).unwrap()).as_bytes()).unwrap();
        log.lock().unwrap();
        assert_eq!(newest(&mut others).as_deref(), Some(run.as_str()));
        drop(log);
        assert!(newest(&mut others).is_none() && others.contains(&run));
    }
}
