//! Budgets, the ledger and what is told of both, seen from outside.

use std::process::Stdio;

use insta::assert_snapshot;
use serde_json::Value;

use crate::lab::{CRAWL, Lab, Sandbox, files_below, ok};

const SONGS: &str = "\
pipeline: songs
budgets:
  groq: { requests: 5 }
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
  summaries:
    kind: summarize
    inputs: { items: songs }
    with: { model: m, limiter: groq, prompt: \"{{ title }}\", max_tokens: 64, usd_per_thousand_requests: 1 }
";

/// A sandbox is asked with that many requests at the same time.
const IN_FLIGHT: u64 = 16;

fn lab() -> Lab {
    let songs: Vec<String> = (0..20).map(|n| format!("i{n},song number {n}")).collect();
    let songs = songs.join("\n");
    Lab::with(&[("songs.yaml", SONGS), ("crawl.yaml", CRAWL), ("songs.csv", &format!("item_id,title\n{songs}\n"))])
}

fn received(sandbox: &Sandbox, what: &str) -> u64 {
    sandbox.stats()["total"][what].as_u64().expect("a count")
}

/// The requests in the ledger that went to sandboxes.
fn in_ledger(lab: &Lab) -> u64 {
    let costs: Value = serde_json::from_str(&ok(lab.line("costs --sandbox --json"))).expect("JSON");
    costs["total"]["requests"].as_u64().expect("a count")
}

#[test]
fn a_run_that_is_stopped_by_its_budget_keeps_what_it_fetched() {
    let lab = lab();
    let sandbox = Sandbox::start(&lab, "--users 20 --songs 20");
    let line = format!("run songs.yaml --sandbox={}", sandbox.url);
    let answer = lab.line(&line);
    assert_snapshot!(answer.seen(), @r"
    exit code 1
    songs: 2 stages, 0 up to date (a sandbox stands in for the APIs: all data is synthetic)
    > songs  it never ran
    ✓ songs  20 rows
    > summaries  it never ran
      summaries  20 rows, 0 known, 20 to ask
    ! summaries: it will need 20 requests, and the budget of `groq` has 5 left; it ends when that is spent
    ✗ summaries  failed
      error: the budget of `groq` is spent: 5 of 5 requests in this run (`summaries` 5 requests, 375 tokens, $0.0050)
        hint: raise `budgets.groq` and run again; what was fetched is kept and not paid for twice
    1 ran, 0 cached, 1 failed, 5 requests, 375 tokens, $0.0050
    ");
    assert_eq!((received(&sandbox, "received"), in_ledger(&lab)), (5, 5));
    lab.edit("songs.yaml", "requests: 5", "requests: 50");
    let answer = lab.line(&line);
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert_eq!((received(&sandbox, "received"), received(&sandbox, "repeated"), in_ledger(&lab)), (20, 0, 20));
}

#[test]
fn what_to_do_over_budget_can_be_said_beforehand() {
    let lab = lab();
    let sandbox = Sandbox::start(&lab, "--users 20 --songs 20");
    let line = format!("run songs.yaml --json --sandbox={}", sandbox.url);
    assert_eq!(lab.line(&format!("{line} --over-budget stop")).code, 1);
    assert_eq!(received(&sandbox, "received"), 5);
    let answer = lab.line(&format!("{line} --over-budget allow"));
    assert_eq!((answer.code, received(&sandbox, "received")), (0, 20), "{answer:#?}");
}

#[test]
fn after_sigkill_the_ledger_knows_what_was_sent() {
    let lab = lab();
    let sandbox = Sandbox::start(&lab, "--users 300 --songs 100 --seed 3");
    let line = format!("run crawl.yaml --json --sandbox={}", sandbox.url);
    let mut command = lab.command(line.split_whitespace());
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
    while received(&sandbox, "received") < 80 {
        assert!(run.try_wait().expect("a process").is_none(), "the run ended before it could be killed");
        std::thread::yield_now();
    }
    run.kill().expect("SIGKILL");
    run.wait().expect("an end");
    assert!(files_below(&lab.path("artifacts/ledger-v1"), ".parquet").is_empty(), "it was killed");
    let (known, sent) = (in_ledger(&lab), received(&sandbox, "received"));
    assert!((sent..=sent + IN_FLIGHT).contains(&known), "{known} in the ledger, {sent} received");
    assert_eq!(files_below(&lab.path("artifacts/ledger-v1"), ".parquet").len(), 1);
    assert!(files_below(&lab.path("artifacts/runs-v1"), "spent.jsonl").is_empty());
    let answer = lab.line(&line);
    assert_eq!(answer.code, 0, "{answer:#?}");
    let added = answer.finished()["requests"].as_u64().expect("a count");
    assert_eq!(in_ledger(&lab), known + added);
    assert_eq!(ok(lab.line("verify")).lines().filter(|line| line.contains("ledger")).count(), 0);
    ok(lab.line("gc --yes --keep-days 0"));
    assert_eq!(in_ledger(&lab), known + added, "what was spent is never collected");
}

#[test]
fn costs_are_summed_and_sandboxes_are_told_apart() {
    let lab = lab();
    assert_eq!(lab.line("costs").code, 2, "there is no store");
    lab.edit("songs.yaml", "requests: 5", "usd: 0.5");
    let sandbox = Sandbox::start(&lab, "--users 20 --songs 20");
    ok(lab.line(&format!("run songs.yaml --sandbox={}", sandbox.url)));
    let real = lab.line("costs");
    assert_snapshot!(real.seen(), @r"
    exit code 0
    nothing was spent from this store yet
    left out: 20 requests to sandboxes, which cost nothing; --sandbox sums them
    ");
    let synthetic = lab.line("costs --sandbox --by limiter");
    assert_snapshot!(synthetic.stdout, @r"
    limiter  requests  repeated  prompt tokens  answer tokens    usd
    ───────  ────────  ────────  ─────────────  ─────────────  ─────
    groq           20         0            220          1,280  $0.02
    total          20         0            220          1,280  $0.02
    ");
    assert_eq!(synthetic.stderr, "synthetic: sandboxes answered, and nobody was paid\n");
    let folder = ok(lab.line("costs --path"));
    assert_eq!(folder.trim(), "artifacts/ledger-v1");
}

#[test]
fn a_plan_says_what_asking_will_take() {
    let lab = lab();
    ok(lab.line("run songs.yaml --target songs"));
    lab.edit("songs.yaml", "requests: 5", "usd: 0.01, per: month");
    assert_snapshot!(ok(lab.line("plan songs.yaml")), @r"
    songs: 2 stages: 1 up to date, 1 to run, 0 undecided

      songs      fresh
      summaries  stale  20 rows, 0 known, 20 to ask
                          ~1.7 k tokens, ~$0.02, about 40 s
                        it never ran

      groq: 20 requests, ~1.7 k tokens, ~$0.02 of $0.01 this month (UTC), about 40 s at 30 a minute
      ! the budget of `groq` has $0.01 left, and about $0.02 will be needed
    ");
    let plan: Value = serde_json::from_str(&ok(lab.line("plan songs.yaml --json"))).expect("JSON");
    let [requests, fits] = ["requests", "fits"].map(|name| &plan["limiters"][0][name]);
    assert_eq!((requests, fits), (&20.into(), &false.into()));
    let crawl = ok(lab.line("plan crawl.yaml"));
    let unknown = "\n\n  lastfm: what `users`, `loved` will ask is not known yet";
    assert!(crawl.trim_end().ends_with(unknown), "{crawl}");
}

#[test]
fn dollars_without_a_price_are_a_mistake_of_the_file() {
    let lab = lab();
    lab.edit("songs.yaml", "requests: 5", "usd: 2");
    lab.edit("songs.yaml", ", usd_per_thousand_requests: 1", "");
    assert_snapshot!(lab.line("check songs.yaml").seen(), @r#"
    exit code 2
    error: the budget of `groq` is in dollars, and the stage `summaries` does not say what its requests cost
      --> songs.yaml:11:32
       |
    11 |     with: { model: m, limiter: groq, prompt: "{{ title }}", max_tokens: 64 }
       |                                ^
      hint: give `usd_per_million_completion_tokens` or `usd_per_million_prompt_tokens` or `usd_per_thousand_requests` below `with:`; 0 for what is free

    1 mistake in songs.yaml; nothing ran
    "#);
    lab.edit("crawl.yaml", "pipeline: crawl", "pipeline: crawl\nbudgets: { lastfm: { usd: 1, per: week } }");
    let week = lab.line("check crawl.yaml").seen();
    assert!(week.contains("unknown value `week`, expected one of `run`, `day`, `month`, `total`"), "{week}");
    lab.edit("crawl.yaml", ", per: week", "");
    let unpriced = lab.line("check crawl.yaml").seen();
    assert!(unpriced.contains("it has no setting for that: count `requests` in the budget instead"), "{unpriced}");
    assert!(unpriced.contains("2 mistakes in crawl.yaml"), "{unpriced}");
}
