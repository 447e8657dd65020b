//! `refrain serve`: the web view, over the loopback and in a browser.

#![cfg(unix)]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::browser::Browser;
use crate::lab::{CRAWL, Lab, Sandbox, ok};

/// From who loved what to a leaderboard, in a second or two.
const PIPELINE: &str = "\
pipeline: small
stages:
  loved:
    kind: read_table
    with: { path: loved.csv }
  typed:
    kind: sql
    inputs: { loved: loved }
    with: { query: \"SELECT user_id, cast(item_id as varchar) AS item_id, at, note FROM loved ORDER BY user_id, at\" }
  split:
    kind: split_leave_last_out
    inputs: { interactions: typed }
  train:
    kind: train_two_tower
    inputs: { split: split }
    with: { tower: ids, epochs: \"${variant.epochs}\", batch_size: 8 }
  evaluate:
    kind: evaluate
    inputs: { split: split, model: train }
  popular:
    kind: popularity
    inputs: { split: split }
  popularity:
    kind: evaluate
    inputs: { split: split, model: popular }
  leaderboard:
    kind: compare
    inputs:
      metrics: [\"evaluate@*\", popularity]
      ranks: [\"evaluate.ranks@*\", popularity.ranks]
    with: { baseline: popularity }
variants:
  CF: { epochs: 2 }
  long: { epochs: 3 }
";

/// A listener's rows; one of the notes would be a script if it were not escaped.
fn lab() -> Lab {
    let mut loved = String::from("user_id,item_id,at,note\n");
    for user in 0..16 {
        for step in 0..5 {
            let note = if user == 0 && step == 0 { "<script>alert(1)</script>" } else { "x" };
            writeln!(loved, "u{user},{},{},{note}", 1 + (user + step) % 8, 100 + step).expect("text");
        }
    }
    Lab::with(&[("pipeline.yaml", PIPELINE), ("loved.csv", &loved)])
}

/// A `refrain serve` that runs until it is dropped.
struct Served {
    process: Child,
    /// `http://127.0.0.1:PORT`.
    url: String,
}

/// The answer to one request.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Served {
    fn start(lab: &Lab, words: &str) -> Self {
        let line = format!("serve --port 0 {words}");
        let mut command = lab.command(line.split_whitespace());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
        let mut first = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
        let url = first.trim().trim_end_matches('/').to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "it said `{first}`");
        Self { process, url }
    }

    fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Sends the lines of a request's head and reads the whole answer.
    fn ask(&self, head: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address()).expect("it listens");
        write!(stream, "{head}\r\nConnection: close\r\n\r\n").expect("a request");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        let answer = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}", self.address()))
    }

    /// The page of a path, which must be there.
    fn page(&self, path: &str) -> String {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.body
    }

    /// Asks it to stop, and gives its exit code.
    fn interrupt(mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status().expect("kill");
        assert!(sent.success());
        self.process.wait().expect("an end").code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The name of the newest run.
fn last_run(lab: &Lab) -> String {
    let runs: serde_json::Value = serde_json::from_str(&ok(lab.line("runs --json --limit 1"))).expect("a list");
    runs[0]["run"].as_str().expect("a name").to_owned()
}

#[test]
fn every_page_is_there_and_says_what_the_store_holds() {
    let lab = lab();
    let served = Served::start(&lab, "");
    let before = served.page("/");
    assert!(before.contains("No final result is there yet") && before.contains("Nothing has run"), "{before}");
    ok(lab.line("run"));
    let home = served.page("/");
    assert!(home.contains("[0.") && home.contains("href=\"/stages/evaluate@CF\""), "a leaderboard with links: {home}");
    assert!(home.contains("data-node=\"evaluate\"") && home.contains("×2"), "variants are one node: {home}");
    let run = last_run(&lab);
    assert!(served.page("/runs").contains(&run));
    let page = served.page(&format!("/runs/{run}"));
    assert!(page.contains("split_leave_last_out") || page.contains("/stages/split"), "{page}");
    assert_eq!(served.get("/runs/last").status, 303, "a short name leads to the run");
    let stage = served.page("/stages/typed");
    assert!(stage.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && !stage.contains("<script>alert"), "escaped");
    assert!(stage.contains("SELECT user_id") && stage.contains("Any") | stage.contains("Reads any number"), "{stage}");
    assert!(stage.contains("page=2#rows"), "80 rows have two pages: {stage}");
    let second = served.page("/stages/typed?output=table&page=2");
    assert!(second.contains(">80<") && !second.contains(">50<"), "{second}");
    assert!(served.page("/stages/evaluate").contains("evaluate@long"));
    assert!(served.page("/stages/evaluate@CF?output=ranks").contains("candidates"));
    let artifacts = served.page("/artifacts");
    assert!(artifacts.contains("leaderboard") && artifacts.contains("/download/"), "{artifacts}");
    lab.edit("pipeline.yaml", "long: { epochs: 3 }", "long: { epochs: 4 }");
    assert!(served.page("/stages/train@long").contains("epochs"), "the file is read again when it changes");
    ok(lab.line("run"));
    let diff = served.page("/diff");
    assert!(diff.contains("train@long") && diff.contains("epochs"), "{diff}");
    assert!(served.page("/").contains(&last_run(&lab)), "the store is read again");
}

#[test]
fn an_artifact_is_downloaded_whole_and_nothing_else_is() {
    let lab = lab();
    ok(lab.line("run --target split"));
    let served = Served::start(&lab, "");
    let path = lab.artifact("split");
    let hash = path.file_name().expect("a name").to_string_lossy().into_owned();
    let reply = served.get(&format!("/download/{hash}"));
    assert_eq!(reply.status, 200);
    let length = fs::metadata(&path).expect("a file").len();
    assert!(reply.head.contains(&format!("content-length: {length}")), "{}", reply.head);
    assert!(
        reply.head.contains("filename=\"split.split.parquet\"") || reply.head.contains("filename=\"split."),
        "{}",
        reply.head
    );
    assert!(reply.body.starts_with("PAR1"));
    // An object of the store that no manifest of this pipeline names.
    let stray = "ab".repeat(32);
    fs::create_dir_all(lab.path("artifacts/objects-v1/ab")).expect("a folder");
    fs::copy(&path, lab.path(&format!("artifacts/objects-v1/ab/{stray}.parquet"))).expect("a copy");
    for wrong in [
        format!("/download/{stray}.parquet"),
        "/download/..%2f..%2fpipeline.yaml".to_owned(),
        "/download/pipeline.yaml".to_owned(),
        format!("/download/{}", hash.trim_end_matches(".parquet")),
    ] {
        assert_eq!(served.get(&wrong).status, 404, "{wrong}");
    }
    fs::remove_file(&path).expect("a file");
    assert_eq!(served.get(&format!("/download/{hash}")).status, 404, "it went away underneath");
    assert!(served.page("/stages/split").contains("The artifact is not in this store"));
}

#[test]
fn what_is_not_there_is_a_page_that_names_what_is_near() {
    let lab = lab();
    ok(lab.line("run --target split"));
    let run = last_run(&lab);
    let served = Served::start(&lab, "");
    let stage = served.get("/stages/evaluat@CF");
    assert!(stage.status == 404 && stage.body.contains("/stages/evaluate@CF"), "{stage:?}");
    let gone = served.get("/runs/20200101T000000Z-nothing");
    assert!(gone.status == 404 && gone.body.contains(&run), "{gone:?}");
    let script = served.get("/stages/%3Cscript%3Ealert(1)%3C%2Fscript%3E");
    assert!(script.status == 404 && script.body.contains("&lt;script&gt;") && !script.body.contains("<script>alert"));
    for path in ["/nothing", "/runs/a/b", "/diff?a=nothing&b=last", "/runs/..", "/runs/%2e%2e%2f"] {
        assert_eq!(served.get(path).status, 404, "{path}");
    }
    assert_eq!(served.get("/stages/%ff").status, 400);
}

#[test]
fn a_broken_file_is_shown_with_its_mistakes_until_it_is_mended() {
    let lab = lab();
    let served = Served::start(&lab, "");
    lab.edit("pipeline.yaml", "kind: popularity", "kind: popularty");
    let broken = served.page("/");
    assert!(broken.contains("popularty") && broken.contains("did you mean") && broken.contains("refresh"), "{broken}");
    assert!(served.page("/artifacts").contains("popularty"));
    lab.edit("pipeline.yaml", "kind: popularty", "kind: popularity");
    assert!(served.page("/").contains("data-node=\"popular\""));
    fs::remove_file(lab.path("pipeline.yaml")).expect("a file");
    assert!(served.page("/").contains("could not read"));
    lab.write("pipeline.yaml", PIPELINE);
    fs::remove_dir_all(lab.path("artifacts")).expect("a store");
    assert!(served.page("/").contains("Nothing has run"), "a store that was taken away is made anew");
}

#[test]
fn only_this_machine_is_answered_and_no_page_says_too_much() {
    let lab = lab();
    lab.edit("pipeline.yaml", "pipeline: small", "pipeline: small\nlimiters:\n  lastfm: { per_second: 5 }");
    lab.edit(
        "pipeline.yaml",
        "  popular:\n",
        "  asked:\n    kind: summarize\n    inputs: { items: songs }\n    with: { model: m, prompt: p, base_url: \"${env.SECRET_URL}\" }\n  songs:\n    kind: sql\n    inputs: { loved: loved }\n    with: { query: \"select item_id, note as artist, note as title from loved\" }\n  popular:\n",
    );
    let mut command = lab.command(["serve", "--port", "0"]);
    command.env("SECRET_URL", "http://secret-host.example/v1").env("LASTFM_API_KEY", "secret-key");
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let mut first = String::new();
    BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
    let served = Served { process, url: first.trim().trim_end_matches('/').to_owned() };
    for page in ["/", "/stages/asked", "/artifacts", "/runs"] {
        let reply = served.get(page);
        assert_eq!(reply.status, 200, "{page}: {reply:?}");
        assert!(!reply.body.contains("secret-"), "{page}");
        for header in [
            "content-security-policy: default-src 'self'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
        ] {
            assert!(reply.head.contains(header), "{page} has no {header}: {}", reply.head);
        }
        assert!(!reply.head.contains("access-control"), "{page}");
        assert!(!reply.body.contains(" style=") && !reply.body.contains("onclick") && !reply.body.contains("<style"));
    }
    assert_eq!(served.ask("GET / HTTP/1.1\r\nHost: rebound.example:8484").status, 403);
    assert_eq!(served.ask("GET / HTTP/1.1\r\nHost: localhost").status, 200);
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let reply = served.ask(&format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0"));
        assert!(reply.status == 405 && reply.head.contains("allow: get"), "{method}: {reply:?}");
    }
}

#[test]
fn a_port_in_use_is_an_error_and_ctrl_c_is_none() {
    let lab = lab();
    let served = Served::start(&lab, "");
    let port = served.url.rsplit(':').next().expect("a port").to_owned();
    let taken = lab.line(&format!("serve --port {port}"));
    assert_eq!(taken.code, 2);
    assert!(taken.stderr.contains("could not listen on 127.0.0.1") && taken.stderr.contains("--port 0"), "{taken:#?}");
    assert_eq!(lab.line("serve nothing.yaml").code, 2);
    // A live page that listens does not keep it from stopping.
    let mut stream = TcpStream::connect(served.address()).expect("it listens");
    write!(stream, "GET /live/events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a request");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("No run is at work") {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).expect("an answer");
        assert!(length > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..length]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(served.interrupt(), Some(0));
    stream.read_to_end(&mut answer).expect("the connection is closed");
}

/// The complete way that a person takes, in a real browser.
#[test]
fn a_browser_goes_from_the_leaderboard_to_the_rows_and_sees_no_error() {
    let Some(mut browser) = Browser::start() else { return };
    let lab = lab();
    ok(lab.line("run"));
    let served = Served::start(&lab, "");
    browser.open(&served.url);
    assert_eq!(browser.evaluate("document.title"), "Pipeline · small");
    browser.click("section.board a[href='/stages/evaluate@CF']");
    browser.wait_for("location.pathname == '/stages/evaluate@CF' && document.readyState == 'complete'");
    browser.click("a[href*='output=ranks']");
    browser.wait_for("location.search.includes('ranks') && document.querySelectorAll('#rows tbody tr').length == 32");
    browser.click("a[href='/stages/split']");
    browser.wait_for("location.pathname == '/stages/split'");
    // By keyboard: the first stop is the link that skips the navigation.
    browser.open(&served.url);
    browser.press("Tab");
    browser.wait_for("document.activeElement.className == 'skip'");
    browser.press("Enter");
    browser.wait_for("location.hash == '#content'");
    browser.press("Tab");
    let reached = browser.evaluate("document.querySelector('main').contains(document.activeElement)");
    assert_eq!(reached, true, "the content is reached");
    for page in ["/", "/runs", "/runs/last", "/stages/typed", "/stages/train", "/artifacts", "/diff", "/live"] {
        browser.open(&format!("{}{page}", served.url));
        assert_eq!(browser.overflow(390), 0, "{page} is wider than a phone");
    }
    browser.open(&served.url);
    let picture = |name: &str| fs::read(lab.path(name)).expect("a picture");
    browser.screenshot(&lab.path("light.png"), 1280, false);
    browser.screenshot(&lab.path("dark.png"), 1280, true);
    assert!(picture("light.png").starts_with(b"\x89PNG") && picture("light.png") != picture("dark.png"));
    let errors = browser.console_errors();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn a_browser_follows_a_run_from_before_it_begins_to_its_end() {
    let Some(mut browser) = Browser::start() else { return };
    let lab = Lab::with(&[("pipeline.yaml", CRAWL)]);
    let sandbox = Sandbox::start(&lab, "--users 200 --per-second 60");
    let served = Served::start(&lab, "");
    browser.open(&format!("{}/live", served.url));
    browser.wait_for("document.getElementById('live-head').innerText.includes('No run is at work')");
    let url = format!("--sandbox={}", sandbox.url);
    let mut command = lab.command(["run", &url]);
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
    browser.wait_for("document.querySelector('[data-node=users]').classList.contains('running')");
    browser.wait_for("document.getElementById('live-running').innerText.includes('users')");
    browser.wait_for("document.querySelector('[data-node=users]').classList.contains('done')");
    browser.wait_for("document.getElementById('live-head').innerText.includes('complete')");
    assert!(run.wait().expect("an end").success());
    let sub = browser.evaluate("document.querySelector('[data-node=loved] .dag-sub').textContent");
    assert!(sub.as_str().is_some_and(|text| text.contains(" rows, ")), "{sub}");
    let log = browser.evaluate("document.getElementById('live-log').innerText");
    assert!(log.as_str().is_some_and(|text| text.contains("users") && text.contains("loved")), "{log}");
    let errors = browser.console_errors();
    assert!(errors.is_empty(), "{errors:#?}");
    drop(served);
    browser.wait_for("!document.getElementById('live-lost').hidden");
}
