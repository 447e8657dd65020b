//! Pages and feeds made directly, without a server.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use super::answer::{Answer, answer};
use super::feed::Feed;
use super::project::{View, ViewSettings};
use super::query::Query;
use crate::engine::{self, Event, NoObserver, Outcome, PlanOptions, RunOptions};
use crate::ground::{ContentHash, ManualClock, files};
use crate::kinds::KINDS;
use crate::store::Store;
use crate::web::Spent;

const PIPELINE: &str = "\
pipeline: small
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
  some:
    kind: sql
    inputs: { songs: songs }
    with: { query: 'select title from songs order by title' }
";

/// A view of a folder in which a small pipeline stands.
fn view() -> (TempDir, Arc<View>) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut songs = "title\n".to_owned();
    for song in 0..120 {
        writeln!(songs, "song <{song:03}>").unwrap();
    }
    files::write_atomically(&path("songs.csv"), songs.as_bytes()).unwrap();
    let text = PIPELINE.replace("songs.csv", &path("songs.csv").display().to_string());
    files::write_atomically(&path("p.yaml"), text.as_bytes()).unwrap();
    let plan = PlanOptions { clock: Arc::new(ManualClock::at(100_000)), ..PlanOptions::default() };
    let settings = ViewSettings {
        file: path("p.yaml"),
        variables: std::collections::BTreeMap::new(),
        artifacts: path("artifacts"),
        plan,
        kinds: KINDS,
        keys: |_, _| Vec::new(),
    };
    (folder, Arc::new(View::new(settings)))
}

fn run(view: &View) {
    let Ok(project) = view.project() else { panic!("no project") };
    let options = RunOptions { plan: view.settings.plan.clone(), ..RunOptions::default() };
    let summary = engine::run(&project.pipeline, &project.store, &options, Arc::new(NoObserver)).unwrap();
    assert!(summary.is_complete());
}

/// The status and text of a page.
fn page(view: &View, address: &str) -> (u16, String) {
    let (path, query) = address.split_once('?').map_or((address, None), |(path, query)| (path, Some(query)));
    match answer(view, &Query::of(path, query).unwrap()) {
        Answer::Page { status, page } => (status.as_u16(), page.into_string()),
        Answer::Redirect(to) => (303, to),
        Answer::File { name, .. } => (200, name),
        Answer::Asset { text, .. } => (200, text),
        Answer::Feed { .. } => (200, "feed".to_owned()),
    }
}

#[test]
fn pages_are_made_before_and_after_a_run() {
    let (_folder, view) = view();
    for address in ["/", "/runs", "/live", "/stages/some", "/artifacts", "/diff", "/style.css", "/script.js"] {
        assert_eq!(page(&view, address).0, 200, "{address}");
    }
    run(&view);
    let (_, text) = page(&view, "/stages/songs?page=3");
    assert!(text.contains("song &lt;119&gt;") && !text.contains("song &lt;099&gt;"), "the last 20 rows: {text}");
    assert!(
        page(&view, "/stages/songs?page=999&output=nothing").1.contains("song &lt;119&gt;"),
        "what is wrong is mended"
    );
    assert_eq!(page(&view, "/stages/song").0, 404);
    assert!(page(&view, "/stages/song").1.contains("href=\"/stages/songs\""));
    assert_eq!(page(&view, "/runs/last").0, 303);
    assert!(page(&view, "/").1.contains("1 min") || page(&view, "/").1.contains("0 s ago"));
}

#[test]
fn what_another_process_made_is_seen_and_a_file_is_read_again() {
    let (folder, view) = view();
    assert!(page(&view, "/artifacts").1.contains("Nothing has been made yet"));
    // Another process has a store of its own.
    let other = View::new(view.settings.clone());
    run(&other);
    assert!(page(&view, "/artifacts").1.contains("/download/"));
    let text = files::read_text(&folder.path().join("p.yaml")).unwrap();
    files::write_atomically(&folder.path().join("p.yaml"), text.replace("kind: sql", "kind: sqk").as_bytes()).unwrap();
    assert!(page(&view, "/").1.contains("sqk"));
    files::write_atomically(&folder.path().join("p.yaml"), text.as_bytes()).unwrap();
    assert!(page(&view, "/").1.contains("data-node=\"some\""));
}

/// What a live page has been sent so far.
#[derive(Default)]
struct Shown(std::collections::BTreeMap<String, Value>);

impl Shown {
    fn update(&mut self, feed: &mut Feed) -> bool {
        let Some(message) = feed.next_message() else { return false };
        let parts: std::collections::BTreeMap<String, Value> = serde_json::from_str(&message).unwrap();
        self.0.extend(parts);
        true
    }

    fn has(&self, part: &str, text: &str) -> bool {
        self.0[part].to_string().contains(text)
    }
}

fn log_of(root: &Path, name: &str) -> fs::File {
    let store = Store::open(root).unwrap();
    let log = fs::File::create(store.run_folder(name).unwrap().join("events.jsonl")).unwrap();
    log.lock().unwrap();
    log
}

fn tell(log: &mut fs::File, event: &Event) {
    log.write_all(format!("{}\n", serde_json::to_string(event).unwrap()).as_bytes()).unwrap();
}

fn started(run: &str) -> Event {
    let (run, pipeline) = (run.to_owned(), "small".to_owned());
    Event::RunStarted { run, pipeline, stages: 2, fresh: 0, sandbox: None, at_millis: 95_000 }
}

#[test]
fn a_feed_waits_for_a_run_follows_it_and_goes_on_to_the_next() {
    let (folder, view) = view();
    let root = folder.path().join("artifacts");
    let (mut feed, mut shown) = (Feed::new(Arc::clone(&view), None), Shown::default());
    assert!(shown.update(&mut feed) && shown.has("head", "No run is at work"));
    assert!(!shown.update(&mut feed), "what is as it was is not sent again");
    let mut log = log_of(&root, "one");
    tell(&mut log, &started("one"));
    let reasons = vec!["<new>".to_owned()];
    tell(&mut log, &Event::StageStarted { stage: "songs".into(), kind: "read_table".into(), reasons });
    assert!(shown.update(&mut feed) && shown.has("head", "running") && shown.has("head", "5 s"));
    assert!(shown.has("log", "&lt;new&gt;") && shown.0["nodes"]["songs"]["class"] == "running");
    let finished = Event::StageFinished {
        stage: "songs".into(),
        outcome: Outcome::Ran,
        rows: 120,
        seconds: 1.0,
        spent: Spent::default(),
        statuses: std::collections::BTreeMap::new(),
        synthetic: false,
        key: ContentHash::of(b""),
        blessed: None,
    };
    tell(&mut log, &finished);
    assert!(shown.update(&mut feed) && shown.0["nodes"]["songs"]["sub"] == "120 rows, 1.0 s");
    let spent = Spent::default();
    tell(&mut log, &Event::Finished { stages: 2, ran: 1, cached: 0, failed: 0, skipped: 0, spent, seconds: 6.5 });
    drop(log);
    assert!(shown.update(&mut feed) && shown.has("head", "complete") && shown.has("head", "6.5 s"));
    assert!(!shown.update(&mut feed), "a run that is over stays");
    let mut next = log_of(&root, "two");
    tell(&mut next, &started("two"));
    assert!(shown.update(&mut feed) && shown.has("head", "-two") && shown.0["nodes"]["songs"]["class"] == "waiting");
    drop(next);
    assert!(shown.update(&mut feed) && shown.has("head", "crashed"), "its process is gone");
}

#[test]
fn a_feed_of_a_run_tells_how_it_ended() {
    let (_folder, view) = view();
    run(&view);
    let Ok(project) = view.project() else { panic!("no project") };
    let name = engine::run_names(&project.store).unwrap().remove(0);
    let (mut feed, mut shown) = (Feed::new(Arc::clone(&view), Some(name)), Shown::default());
    assert!(shown.update(&mut feed) && shown.has("head", "complete"));
    assert_eq!(shown.0["nodes"]["some"]["class"], "done");
    let (mut feed, mut shown) = (Feed::new(view, Some("../../etc".to_owned())), Shown::default());
    assert!(shown.update(&mut feed) && shown.has("head", "There is no run"));
}
