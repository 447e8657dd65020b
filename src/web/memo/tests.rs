//! The memo as a folder: several processes, ages, and damage.

use super::*;
use crate::ground::ManualClock;

struct Folder {
    directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Folder {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a folder"), clock: Arc::new(ManualClock::at(1_000_000)) }
    }

    /// A memo over the folder, as another process would have it.
    fn memo(&self) -> Memo {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        Memo::new(self.directory.path().join("http"), clock)
    }

    fn put(&self, memo: &Memo, text: &str) {
        let answer = Answer {
            status: 200,
            headers: BTreeMap::new(),
            body: Arc::from(text.as_bytes()),
            at: self.clock.now_millis(),
            from_memo: false,
        };
        memo.append(ContentHash::of(text.as_bytes()), text, &answer).expect("written");
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(self.directory.path().join("http"))
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        paths
    }
}

fn find(memo: &Memo, text: &str) -> Option<Answer> {
    memo.find(ContentHash::of(text.as_bytes()), None)
}

#[expect(clippy::disallowed_methods, reason = "the damage is the point")]
fn overwrite(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn an_answer_is_found_again_by_the_next_process() {
    let folder = Folder::new();
    let memo = folder.memo();
    assert_eq!(find(&memo, "a"), None);
    folder.put(&memo, "a");
    assert_eq!(find(&memo, "a").expect("kept").body.as_ref(), b"a");
    drop(memo);
    let next = folder.memo();
    assert!(find(&next, "a").expect("kept").from_memo);
    assert_eq!(find(&next, "b"), None);
    assert!(next.take_warnings().is_empty());
}

#[test]
fn processes_that_live_together_share_what_they_learn() {
    let folder = Folder::new();
    let (one, other) = (folder.memo(), folder.memo());
    folder.put(&one, "a");
    folder.put(&other, "b");
    assert_eq!(folder.segments().len(), 2, "each writes its own segment");
    assert!(find(&one, "b").is_some() && find(&other, "a").is_some());
    folder.put(&one, "c");
    assert!(find(&other, "c").is_none(), "it looks again after a second");
    folder.clock.advance(Duration::from_secs(1));
    assert!(find(&other, "c").is_some());
    assert!(one.take_warnings().is_empty() && other.take_warnings().is_empty());
}

#[test]
fn only_what_is_young_enough_is_taken_and_the_newest_wins() {
    let folder = Folder::new();
    let memo = folder.memo();
    folder.put(&memo, "a");
    folder.clock.advance(Duration::from_mins(1));
    let key = ContentHash::of(b"a");
    assert!(memo.find(key, Some(Duration::from_secs(59))).is_none());
    assert!(memo.find(key, Some(Duration::from_mins(1))).is_some());
    folder.put(&memo, "a");
    drop(memo);
    assert!(folder.memo().find(key, Some(Duration::from_secs(1))).is_some());
}

#[test]
fn a_torn_tail_is_cut_once_and_said() {
    let folder = Folder::new();
    let memo = folder.memo();
    folder.put(&memo, "a");
    folder.put(&memo, "b");
    drop(memo);
    let path = folder.segments().remove(0);
    let bytes = std::fs::read(&path).expect("the segment");
    overwrite(&path, &bytes[..bytes.len() - 3]);
    let memo = folder.memo();
    assert!(find(&memo, "a").is_some() && find(&memo, "b").is_none());
    assert_eq!(memo.take_warnings().len(), 1);
    let again = folder.memo();
    assert!(find(&again, "b").is_none());
    assert!(again.take_warnings().is_empty(), "healed");
}

#[test]
fn a_living_process_is_not_taken_for_a_dead_one() {
    let folder = Folder::new();
    let memo = folder.memo();
    folder.put(&memo, "a");
    let path = folder.segments().remove(0);
    // Half a record, as if the writer were in the middle of it.
    OpenOptions::new().append(true).open(&path).and_then(|mut file| file.write_all(b"\x1eREC\x40")).expect("written");
    let other = folder.memo();
    assert!(find(&other, "a").is_some());
    assert!(other.take_warnings().is_empty());
    assert!(std::fs::read(&path).expect("the segment").ends_with(b"\x1eREC\x40"), "left as it is");
}

#[test]
fn a_damaged_record_costs_only_itself() {
    let folder = Folder::new();
    let memo = folder.memo();
    for text in ["first", "second", "third"] {
        folder.put(&memo, text);
    }
    drop(memo);
    let path = folder.segments().remove(0);
    let mut bytes = std::fs::read(&path).expect("the segment");
    let at = bytes.windows(6).rposition(|window| window == b"second").expect("its body");
    bytes[at] ^= 1;
    overwrite(&path, &bytes);
    let memo = folder.memo();
    assert_eq!(["first", "second", "third"].map(|text| find(&memo, text).is_some()), [true, false, true]);
    let warnings = memo.take_warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("damaged"), "{warnings:?}");
}

#[test]
fn damage_after_the_index_was_made_is_a_miss() {
    let folder = Folder::new();
    let memo = folder.memo();
    folder.put(&memo, "a");
    let path = folder.segments().remove(0);
    let mut bytes = std::fs::read(&path).expect("the segment");
    *bytes.last_mut().expect("not empty") ^= 1;
    overwrite(&path, &bytes);
    assert_eq!(find(&memo, "a"), None);
    assert_eq!(memo.take_warnings().len(), 1);
}

#[test]
fn other_files_are_left_alone() {
    let folder = Folder::new();
    let memo = folder.memo();
    folder.put(&memo, "a");
    let stray = folder.directory.path().join("http").join("0.segment");
    overwrite(&stray, b"refrain-http\x09\0\0\0 of a later version");
    let next = folder.memo();
    assert!(find(&next, "a").is_some());
    assert!(next.take_warnings()[0].contains("left alone"));
    assert!(stray.exists());
}
