//! Runs against servers that fail as real ones fail: what a retry can mend
//! leaves no trace in the results, and what it cannot is said, with what to do.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use crate::lab::{Answer, Lab, Sandbox};

/// Each provider is asked for something.
const ALL: &str = "\
pipeline: all
stages:
  users:
    kind: crawl_users
    with: { max_users: 20 }
  loved:
    kind: crawl_loved_tracks
    inputs: { users: users }
    with: { per_user: 4, min_per_user: 1 }
  songs:
    kind: sql
    inputs: { loved: loved }
    with: { query: \"select distinct artist || ' - ' || title as item_id, artist, title from loved order by item_id\" }
  tags:
    kind: crawl_top_tags
    inputs: { tracks: songs }
  lyrics:
    kind: crawl_lyrics
    inputs: { tracks: songs }
  sums:
    kind: summarize
    inputs: { items: lyrics }
    with: { model: any, prompt: 'In 25 words: {{ text }}' }
";
const CRAWL: &str = "\
pipeline: crawl
stages:
  users:
    kind: crawl_users
    with: { max_users: 80 }
  loved:
    kind: crawl_loved_tracks
    inputs: { users: users }
    with: { per_user: 50, min_per_user: 1 }
";
const WORLD: &str = "--users 120 --songs 60 --seed 3";

fn run(lab: &Lab, file: &str, sandbox: &Sandbox) -> Answer {
    lab.line(&format!("run {file} --sandbox={}", sandbox.url))
}

/// The names of the artifacts, which are the hashes of their bytes.
fn artifacts(lab: &Lab) -> Vec<OsString> {
    let outputs = ["users", "loved", "tags", "lyrics", "sums"];
    let name = |output: &&str| lab.artifact(&format!("all.yaml {output}")).file_name().expect("a name").to_owned();
    outputs.iter().map(name).collect()
}

fn total(sandbox: &Sandbox, what: &str) -> u64 {
    sandbox.stats()["total"][what].as_u64().expect("a number")
}

#[test]
fn a_run_through_every_fault_that_passes_ends_in_the_same_bytes() {
    let (calm, rough) = (Lab::with(&[("all.yaml", ALL)]), Lab::with(&[("all.yaml", ALL)]));
    let sound = Sandbox::start(&calm, WORLD);
    let faulty = Sandbox::start(&rough, &format!("{WORLD} --faults 0.2 --stall-secs 0.05"));
    for (lab, sandbox) in [(&calm, &sound), (&rough, &faulty)] {
        let answer = run(lab, "all.yaml", sandbox);
        assert_eq!(answer.code, 0, "{answer:#?}");
    }
    assert_eq!(artifacts(&calm), artifacts(&rough));
    assert!(total(&faulty, "failed") > 40, "{}", faulty.stats());
    assert_eq!((total(&sound, "failed"), total(&sound, "repeated")), (0, 0));
    assert_eq!(total(&faulty, "answered"), total(&sound, "answered"), "no answer was asked for twice");
}

#[test]
fn a_key_that_is_revoked_halfway_stops_the_run_and_a_good_one_goes_on_from_there() {
    let lab = Lab::with(&[("crawl.yaml", CRAWL)]);
    let sandbox = Sandbox::start(&lab, &format!("{WORLD} --revoke-after 70"));
    let stopped = run(&lab, "crawl.yaml", &sandbox);
    assert_eq!(stopped.code, 1, "{stopped:#?}");
    for words in
        ["lastfm can no longer be asked", "Last.fm error 26: Suspended API key", "last.fm/api/accounts", "is kept"]
    {
        assert!(stopped.stderr.contains(words), "no `{words}` in {stopped:#?}");
    }
    assert_eq!(total(&sandbox, "answered"), 70);
    assert!(total(&sandbox, "failed") <= 16, "only what was in flight: {}", sandbox.stats());
    sandbox.text("/__restore");
    let done = run(&lab, "crawl.yaml", &sandbox);
    assert_eq!(done.code, 0, "{done:#?}");
    assert_eq!(total(&sandbox, "repeated"), 0, "{}", sandbox.stats());
}

#[test]
fn a_giant_answer_fails_its_row_and_is_not_read_to_its_end() {
    let lab = Lab::with(&[("crawl.yaml", CRAWL)]);
    let sandbox = Sandbox::start(&lab, &format!("{WORLD} --faults 1 --fault-kinds giant"));
    let answer = run(&lab, "crawl.yaml", &sandbox);
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.stderr.contains("the answer is longer than 8388608 bytes"), "{answer:#?}");
    assert_eq!(total(&sandbox, "received"), 1, "it is not asked for again");
}

#[test]
fn users_who_vanish_and_pages_that_never_end_are_no_obstacle() {
    let lab = Lab::with(&[("crawl.yaml", CRAWL)]);
    let sandbox = Sandbox::start(&lab, &format!("{WORLD} --faults 0.3 --fault-kinds vanish,same_page"));
    let answer = run(&lab, "crawl.yaml", &sandbox);
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert!(total(&sandbox, "received") < 800, "{}", sandbox.stats());
}

#[test]
fn a_name_that_is_no_fault_is_refused_with_those_that_are() {
    let answer = Lab::new().line("sandbox --faults 0.1 --fault-kinds rest");
    assert_eq!(answer.code, 2, "{answer:#?}");
    assert!(answer.stderr.contains("limited, limited_silently") && answer.stderr.contains("reset"), "{answer:#?}");
}

/// Something that listens, notes the first line of each request and hangs up.
fn listener() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let first = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("a line");
        line.trim().to_owned()
    });
    (url, first)
}

#[test]
fn services_of_others_are_asked_through_the_proxy_of_the_environment() {
    let lab = Lab::with(&[("crawl.yaml", CRAWL)]);
    let (proxy, first) = listener();
    let mut command = lab.command(["run", "crawl.yaml"]);
    command.env("HTTPS_PROXY", &proxy).env("NO_PROXY", "").env("LASTFM_API_KEY", "s3cr3t-0123456789");
    let output = command.output().expect("the binary starts");
    assert_eq!(first.join().expect("a request"), "CONNECT ws.audioscrobbler.com:443 HTTP/1.1");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("there is no connection to ws.audioscrobbler.com"), "{told}");
    assert!(told.contains("set REFRAIN_CONTACT") && !told.contains("s3cr3t"), "{told}");
}

#[test]
fn this_machine_is_never_asked_through_a_proxy() {
    let lab = Lab::with(&[("crawl.yaml", CRAWL)]);
    let sandbox = Sandbox::start(&lab, WORLD);
    let mut command = lab.command(["run", "crawl.yaml", &format!("--sandbox={}", sandbox.url)]);
    let nobody = "http://127.0.0.1:1";
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env(name, nobody);
    }
    let output = command.env("NO_PROXY", "").env("no_proxy", "").output().expect("the binary starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(!told.contains("REFRAIN_CONTACT"), "a sandbox needs no contact: {told}");
}

#[test]
fn a_contact_that_is_none_is_refused_before_anything_is_asked() {
    let lab = Lab::with(&[("crawl.yaml", CRAWL)]);
    let mut command = lab.command(["run", "crawl.yaml"]);
    command.env("LASTFM_API_KEY", "s3cr3t-0123456789").env("REFRAIN_CONTACT", "me");
    command.env("HTTPS_PROXY", "http://127.0.0.1:1");
    let output = command.output().expect("the binary starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("`me` in REFRAIN_CONTACT is neither a mail address nor a URL"), "{told}");
}

#[test]
fn a_mistyped_address_is_told_within_seconds() {
    let songs = "item_id,text\n1,la la la\n2,lo lo lo\n";
    let sums = "\
pipeline: sums
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
  sums:
    kind: summarize
    inputs: { items: songs }
    with: { model: any, prompt: '{{ text }}', base_url: 'http://127.0.0.1:1/v1', api_key: '' }
";
    let lab = Lab::with(&[("sums.yaml", sums), ("songs.csv", songs)]);
    let answer = lab.line("run sums.yaml");
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.stderr.contains("there is no connection to 127.0.0.1:1: "), "{answer:#?}");
    assert!(answer.stderr.contains("check the address, and whether the server runs"), "{answer:#?}");
}
