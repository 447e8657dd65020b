//! The memo as a folder: several processes, ages, indices, and damage.

use std::fs::OpenOptions;
use std::io::Write;

use proptest::prelude::*;

use super::file::index_path;
use super::*;
use crate::ground::ManualClock;

type Texts = Memo<Stamp>;

struct Folder {
    directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Folder {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a folder"), clock: Arc::new(ManualClock::at(1_000_000)) }
    }

    /// One with a closed segment of these texts.
    fn with(texts: &[&str]) -> Self {
        let folder = Self::new();
        let memo = folder.memo();
        for text in texts {
            folder.put(&memo, text);
        }
        folder
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("texts")
    }

    /// A memo over the folder, as another process would have it.
    fn memo(&self) -> Texts {
        Memo::new(self.path(), Arc::<ManualClock>::clone(&self.clock))
    }

    fn put(&self, memo: &Texts, text: &str) {
        let head = Stamp { key: ContentHash::of(text.as_bytes()), at: self.clock.now_millis() };
        memo.append([(&head, text.as_bytes())]).expect("written");
    }

    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path()).expect("the folder").map(|entry| entry.expect("an entry").path());
        let mut paths: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
        paths.sort();
        paths
    }

    fn segments(&self) -> Vec<PathBuf> {
        self.files(".segment")
    }

    fn found(&self) -> Vec<(Damage, u64)> {
        let findings = verify(self.directory.path()).expect("verified");
        findings.into_iter().map(|finding| (finding.what, finding.lost)).collect()
    }
}

fn find(memo: &Texts, text: &str) -> Option<Vec<u8>> {
    memo.find(ContentHash::of(text.as_bytes()), None).map(|(_, body)| body)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}

#[expect(clippy::disallowed_methods, reason = "the damage is the point")]
fn overwrite(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("written");
}

/// Flips a bit of a text's body.
fn damage(path: &Path, text: &str) {
    let mut bytes = read(path);
    let at = bytes.windows(text.len()).rposition(|window| window == text.as_bytes()).expect("its body");
    bytes[at] ^= 1;
    overwrite(path, &bytes);
}

#[test]
fn tasks_of_one_pool_may_all_look_for_something_while_the_memo_is_opened() {
    let folder = Folder::new();
    let texts: Vec<String> = (0..2_000).map(|number| format!("text {number}")).collect();
    for part in texts.chunks(500) {
        let memo = folder.memo();
        for text in part {
            folder.put(&memo, text);
        }
    }
    for _ in 0..50 {
        let memo = folder.memo();
        assert!(texts.par_iter().all(|text| find(&memo, text).is_some()));
    }
}

#[test]
fn a_record_is_found_again_by_the_next_process() {
    let folder = Folder::new();
    let memo = folder.memo();
    assert_eq!(find(&memo, "a"), None);
    folder.put(&memo, "a");
    assert_eq!(find(&memo, "a").expect("kept"), b"a");
    drop(memo);
    let next = folder.memo();
    assert_eq!(find(&next, "a").expect("kept"), b"a");
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
    assert!(folder.files(".index").is_empty(), "what is being written has no index");
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
    assert_eq!(memo.known(&[key], Some(Duration::from_secs(59))), [false]);
    folder.put(&memo, "a");
    drop(memo);
    assert!(folder.memo().find(key, Some(Duration::from_secs(1))).is_some());
    assert_eq!(folder.memo().known(&[key, ContentHash::of(b"b")], Some(Duration::from_secs(1))), [true, false]);
}

#[test]
fn a_torn_tail_is_cut_once_and_said() {
    let folder = Folder::with(&["a", "b"]);
    let path = folder.segments().remove(0);
    let bytes = read(&path);
    overwrite(&path, &bytes[..bytes.len() - 3]);
    assert_eq!(folder.found(), [(Damage::TornTail, 1), (Damage::Index, 0)]);
    let memo = folder.memo();
    assert!(find(&memo, "a").is_some() && find(&memo, "b").is_none());
    assert_eq!(memo.take_warnings().len(), 1);
    let again = folder.memo();
    assert!(find(&again, "b").is_none());
    assert!(again.take_warnings().is_empty(), "healed");
    assert_eq!(folder.found(), []);
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
    assert_eq!(folder.found(), []);
    repair(folder.directory.path()).expect("nothing to repair");
    assert!(read(&path).ends_with(b"\x1eREC\x40"), "left as it is");
    drop(memo);
    assert!(folder.files(".index").is_empty(), "a segment with more in it than its process wrote gets no index");
    assert!(find(&folder.memo(), "a").is_some());
}

#[test]
fn a_damaged_record_costs_only_itself_and_is_said_once() {
    let folder = Folder::with(&["first", "second", "third"]);
    damage(&folder.segments()[0], "second");
    let memo = folder.memo();
    assert_eq!(["first", "second", "third"].map(|text| find(&memo, text).is_some()), [true, false, true]);
    let warnings = memo.take_warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("damaged"), "{warnings:?}");
    drop(memo);
    let next = folder.memo();
    assert_eq!(find(&next, "second"), None);
    assert!(next.take_warnings().is_empty(), "its index remembers");
    folder.put(&next, "second");
    drop(next);
    assert!(find(&folder.memo(), "second").is_some(), "asked again and kept");
    // More damage is told, and only that.
    damage(&folder.segments()[0], "first");
    let memo = folder.memo();
    assert_eq!(find(&memo, "first"), None);
    assert_eq!(memo.take_warnings().len(), 1);
    assert_eq!(find(&memo, "third").expect("whole"), b"third");
}

#[test]
fn an_older_record_stands_in_for_a_damaged_one() {
    let folder = Folder::with(&["ripe", "rest"]);
    folder.clock.advance(Duration::from_mins(1));
    let memo = folder.memo();
    for text in ["ripe", "rest"] {
        folder.put(&memo, text);
    }
    drop(memo);
    let newer = folder.segments().remove(1);
    damage(&newer, "ripe");
    let (head, _) = folder.memo().find(ContentHash::of(b"ripe"), None).expect("the older");
    assert_eq!(head.at, 1_000_000);
}

#[test]
fn damage_in_what_this_process_wrote_is_a_miss() {
    let folder = Folder::new();
    let memo = folder.memo();
    folder.put(&memo, "a");
    damage(&folder.segments()[0], "a");
    assert_eq!(find(&memo, "a"), None);
    assert_eq!(memo.take_warnings().len(), 1);
}

#[test]
fn other_files_are_left_alone() {
    let folder = Folder::with(&["a"]);
    let (stray, note) = (folder.path().join("0.segment"), folder.path().join("note.txt"));
    overwrite(&stray, b"refrain-vect\x09\0\0\0 of a later version");
    overwrite(&note, b"mine");
    let next = folder.memo();
    assert!(find(&next, "a").is_some());
    assert!(next.take_warnings()[0].contains("left alone"));
    assert_eq!(folder.found(), [(Damage::Foreign, 0), (Damage::Foreign, 0)]);
    assert_eq!(repair(folder.directory.path()).expect("repaired").len(), 2);
    assert!(stray.exists() && note.exists());
}

#[test]
fn a_memo_that_is_only_read_changes_nothing() {
    let folder = Folder::with(&["a", "b"]);
    let path = folder.segments().remove(0);
    let bytes = read(&path);
    overwrite(&path, &bytes[..bytes.len() - 3]);
    std::fs::remove_file(index_path(&path)).expect("an index");
    let memo = Texts::read_only(folder.path(), Arc::<ManualClock>::clone(&folder.clock));
    assert!(find(&memo, "a").is_some() && find(&memo, "b").is_none());
    assert_eq!((read(&path).len(), folder.files("").len()), (bytes.len() - 3, 1));
    let head = Stamp { key: ContentHash::of(b"c"), at: 1 };
    assert!(memo.append([(&head, &b"c"[..])]).is_err());
}

#[test]
fn a_repair_keeps_all_that_is_whole() {
    let folder = Folder::with(&["first", "second", "third", "fourth"]);
    let path = folder.segments().remove(0);
    damage(&path, "second");
    let reader = folder.memo();
    assert!(find(&reader, "fourth").is_some());
    assert_eq!(folder.found(), [(Damage::Records, 1)]);
    let repaired = repair(folder.directory.path()).expect("repaired");
    assert_eq!(repaired, [Finding { path, what: Damage::Records, lost: 1 }]);
    assert_eq!(folder.found(), []);
    for memo in [reader, folder.memo()] {
        let there = ["first", "second", "third", "fourth"].map(|text| find(&memo, text).is_some());
        assert_eq!(there, [true, false, true, true]);
        assert!(memo.take_warnings().iter().all(|warning| warning.contains("damaged")));
    }
    assert_eq!(folder.files("").len(), 2, "a segment and its index");
}

#[test]
fn a_full_disk_is_told_and_nothing_half_written_is_believed() {
    // Writing to a folder that is a file fails as a full disk does.
    let folder = Folder::new();
    overwrite(&folder.path(), b"");
    let memo = folder.memo();
    let head = Stamp { key: ContentHash::of(b"a"), at: 1 };
    let error = memo.append([(&head, &b"a"[..])]).expect_err("no folder");
    assert!(error.to_string().starts_with("could not create"), "{error}");
    assert_eq!(find(&memo, "a"), None);
    assert!(memo.flush().is_ok());
}

/// What is done to the files of a memo.
#[derive(Debug, Clone)]
enum Harm {
    CutSegment(f64),
    FlipSegment(f64, u8),
    CutIndex(f64),
    FlipIndex(f64, u8),
    RemoveIndex,
    /// The index of the other segment.
    ForeignIndex,
    /// The index as it was before the segment's last record.
    OlderIndex,
    LeftUnfinished,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        (0.0..1.0).prop_map(Harm::CutSegment),
        (0.0..1.0, 1..=255_u8).prop_map(|(at, with)| Harm::FlipSegment(at, with)),
        (0.0..1.0).prop_map(Harm::CutIndex),
        (0.0..1.0, 1..=255_u8).prop_map(|(at, with)| Harm::FlipIndex(at, with)),
        Just(Harm::RemoveIndex),
        Just(Harm::ForeignIndex),
        Just(Harm::OlderIndex),
        Just(Harm::LeftUnfinished),
    ]
}

fn cut(path: &Path, share: f64) {
    let bytes = read(path);
    overwrite(path, &bytes[..(share * bytes.len() as f64) as usize]);
}

fn flip(path: &Path, share: f64, with: u8) {
    let mut bytes = read(path);
    let at = (share * bytes.len() as f64) as usize;
    bytes[at] ^= with;
    overwrite(path, &bytes);
}

fn older_index(segment: &Path) {
    let bytes = read(segment);
    let scan = segment::scan(&bytes[segment::HEADER..]);
    let last = scan.records.last().expect("a record").offset;
    let shorter = segment::scan(&bytes[segment::HEADER..segment::HEADER + last]);
    let entries = file::entries_of(&shorter, segment::HEADER as u64);
    let index = file::index_of(&shorter, &bytes[segment::HEADER..], entries);
    overwrite(&index_path(segment), &index.encode());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens to one segment and its index: the other segment's
    /// records are there, no record comes back other than it was written, what
    /// harms an index alone costs nothing, and the next process finds all healed.
    #[test]
    fn harm_costs_no_more_than_what_was_harmed(harm in harm(), texts in 1..6_usize) {
        let names: Vec<String> = (0..texts).map(|number| format!("text number {number}")).collect();
        let folder = Folder::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
        folder.clock.advance(Duration::from_mins(1));
        let memo = folder.memo();
        for text in ["other one", "other two"] {
            folder.put(&memo, text);
        }
        drop(memo);
        let [path, other] = <[PathBuf; 2]>::try_from(folder.segments()).expect("two segments");
        let index = index_path(&path);
        let before = segment::scan(&read(&path)[segment::HEADER..]);
        match &harm {
            Harm::CutSegment(share) => cut(&path, *share),
            Harm::FlipSegment(share, with) => flip(&path, *share, *with),
            Harm::CutIndex(share) => cut(&index, *share),
            Harm::FlipIndex(share, with) => flip(&index, *share, *with),
            Harm::RemoveIndex => std::fs::remove_file(&index).expect("an index"),
            Harm::ForeignIndex => overwrite(&index, &read(&index_path(&other))),
            Harm::OlderIndex => older_index(&path),
            Harm::LeftUnfinished => {
                overwrite(&file::unfinished_index_path(&path), b"half");
                std::fs::remove_file(&index).expect("an index");
            }
        }
        let length = read(&path).len();
        let least = match &harm {
            Harm::CutSegment(_) => {
                let whole = |found: &&segment::Found| segment::HEADER + found.offset + found.length <= length;
                before.records.iter().filter(whole).count()
            }
            Harm::FlipSegment(share, _) if ((share * length as f64) as usize) < segment::HEADER => 0,
            Harm::FlipSegment(..) => texts - 1,
            _ => texts,
        };
        for _ in 0..2 {
            let memo = folder.memo();
            let there = names.iter().filter(|name| match find(&memo, name) {
                Some(body) => { assert_eq!(body, name.as_bytes()); true }
                None => false,
            });
            prop_assert!(there.count() >= least, "{harm:?}");
            prop_assert!(find(&memo, "other one").is_some() && find(&memo, "other two").is_some());
        }
        let after = folder.memo();
        for name in &names {
            drop(find(&after, name));
        }
        let told = after.take_warnings();
        prop_assert!(told.iter().all(|warning| warning.contains("left alone")), "{told:?}");
        drop(after);
        repair(folder.directory.path()).expect("repaired");
        let left = folder.found();
        prop_assert!(left.iter().all(|(what, _)| *what == Damage::Foreign), "{harm:?}: {left:?}");
    }
}
