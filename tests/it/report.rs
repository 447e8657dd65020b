//! `refrain report`: what the page and the tables say, that every number leads
//! to where it comes from, and that no name from data becomes markup.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use serde_json::Value;

use crate::browser::Browser;
use crate::lab::{Answer, Lab, ok};

/// A name that a page must show and never run.
const HOSTILE: &str = "<script>alert(1)</script>";

const PIPELINE: &str = "\
pipeline: small
report: { title: \"Small & sound\", published: apple, songs: [\"3\"] }
stages:
  loved:
    kind: read_table
    with: { path: loved.csv }
  raw:
    kind: read_table
    with: { path: songs.csv }
  typed:
    kind: sql
    inputs: { loved: loved }
    with: { query: \"SELECT user_id, cast(item_id as varchar) AS item_id, at FROM loved ORDER BY user_id, at\" }
  songs:
    kind: sql
    inputs: { raw: raw }
    with: { query: \"SELECT cast(item_id as varchar) AS item_id, artist, title, tag FROM raw ORDER BY item_id\" }
  titles:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT item_id, title AS text FROM songs ORDER BY item_id\" }
  split:
    kind: split_leave_last_out
    inputs: { interactions: typed }
  train:
    kind: train_two_tower
    inputs: { split: split, items: songs }
    with: { tower: text, item_features: \"${variant.features}\", epochs: 3, batch_size: 8 }
  evaluate:
    kind: evaluate
    inputs: { split: split, model: train, items: songs }
    with: { k: [2], by_item: [tag], min_group: 1 }
  popular:
    kind: popularity
    inputs: { split: split }
  popularity:
    kind: evaluate
    inputs: { split: split, model: popular }
    with: { k: [2] }
  leaderboard:
    kind: compare
    inputs: { metrics: [\"evaluate@*\", popularity], ranks: [\"evaluate.ranks@*\", popularity.ranks] }
    with: { k: 2, baseline: popularity, resamples: 50, permutations: 50 }
variants:
  plain: { features: [] }
  named: { features: [artist] }
";

fn lab() -> Lab {
    let mut loved = String::from("user_id,item_id,at\n");
    for user in 0..8 {
        for step in 0..5 {
            writeln!(loved, "u{user},{},{}", 1 + (user + step) % 8, 100 + step).expect("text");
        }
    }
    let songs = format!(
        "item_id,artist,title,tag\n1,Björk,Jóga,pop\n2,Björk,Hunter,pop\n3,Air,{HOSTILE},{HOSTILE}\n4,Air,Remember,pop\n\
         5,Can,Vitamin C,rock\n6,Can,Spoon,rock\n7,Neu,Hallogallo,rock\n8,Air,Hunter,pop\n"
    );
    Lab::with(&[("pipeline.yaml", PIPELINE), ("loved.csv", &loved), ("songs.csv", &songs)])
}

fn after_a_run() -> Lab {
    let lab = lab();
    ok(lab.line("run"));
    lab
}

fn facts(lab: &Lab) -> Value {
    serde_json::from_str(&ok(lab.line("report --format json"))).expect("JSON")
}

fn failed(answer: &Answer) -> String {
    assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{answer:#?}");
    answer.stderr.clone()
}

#[test]
fn a_page_is_written_where_it_is_said_and_holds_all_that_it_needs() {
    let lab = after_a_run();
    let answer = lab.line("report");
    assert_eq!((answer.code, answer.stdout.as_str()), (0, ""), "{answer:#?}");
    assert!(answer.stderr.contains("wrote reports/small.html ("), "{answer:#?}");
    let page = fs::read_to_string(lab.path("reports/small.html")).expect("the page");
    for text in ["Small &amp; sound", "HR@2", "NDCG@2", "leaderboard", "train@named", "not distinguishable"] {
        assert!(page.contains(text), "no {text}");
    }
    assert!(!page.contains(HOSTILE), "a name became markup");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "the name is not shown");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let used = page.match_indices(outside).filter(|(at, _)| !page[*at..].starts_with("http://www.w3.org/2000/svg"));
        assert_eq!(used.count(), 0, "the page asks for something outside: {outside}");
    }
    let other = lab.line("report --output page.html --rows 0");
    assert!(other.stderr.contains("wrote page.html"), "{other:#?}");
    assert_eq!(
        ok(lab.line("report --output - --rows 0")).trim(),
        fs::read_to_string(lab.path("page.html")).unwrap().trim()
    );
}

#[test]
fn the_facts_say_where_each_number_comes_from() {
    let facts = facts(&after_a_run());
    assert_eq!(facts["title"], "Small & sound");
    assert_eq!((&facts["synthetic"], &facts["gaps"]), (&Value::Null, &Value::Array(Vec::new())));
    let data = &facts["data"][0];
    assert_eq!((&data["users"], &data["items"], &data["feedback"]), (&8.into(), &8.into(), &40.into()));
    assert_eq!(data["published"]["items"], 6800);
    let board = &facts["boards"][0];
    let rows = board["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 3);
    for row in rows {
        let (hits, of) = (row["hits"].as_f64().expect("hits"), row["of"].as_f64().expect("targets"));
        assert_eq!(row["of"], 8);
        assert!((hits / of - row["hr"]["value"].as_f64().expect("hr")).abs() < 1e-12, "{row}");
        assert_eq!(row["published"], Value::Null, "the paper has no HR@2");
        let found = row["found"].as_array().expect("a distribution");
        assert_eq!(found.last(), Some(&1.0.into()), "at the last rank all are found");
    }
    let named = rows.iter().find(|row| row["variant"] == "named").expect("the variant");
    assert_eq!(named["evaluated_by"][0], "evaluate@named");
    assert_eq!(named["trained_by"][0], "train@named");
    assert!(named["by_group"]["tag"]["rock"]["of"].as_u64() > Some(0), "{named}");
    let stages = facts["stages"].as_array().expect("stages");
    let evaluate = stages.iter().find(|stage| stage["id"] == "evaluate@named").expect("the stage");
    let from: Vec<&Value> = evaluate["inputs"]
        .as_array()
        .expect("inputs")
        .iter()
        .map(|input| &stages[input["from"].as_u64().expect("a stage") as usize]["id"])
        .collect();
    assert_eq!(from, ["songs", "train@named", "split"]);
    assert_eq!(evaluate["outcome"], "ran");
    assert_eq!(facts["curves"][0]["epochs"].as_array().expect("epochs").len(), 3);
}

#[test]
fn texts_of_the_song_that_is_asked_for_stand_side_by_side() {
    let lab = after_a_run();
    let of = |facts: &Value| (facts["songs"][0]["title"].clone(), facts["songs"][0]["texts"][0]["text"].clone());
    assert_eq!(of(&facts(&lab)), (HOSTILE.into(), HOSTILE.into()), "the one that the file names");
    let asked = lab.refrain(["report", "--format", "json", "--song", "can - spoon"]);
    let asked: Value = serde_json::from_str(&ok(asked)).expect("JSON");
    assert_eq!(of(&asked), ("Spoon".into(), "Spoon".into()));
    assert_snapshot!(failed(&lab.refrain(["report", "--song", "Can - Spon"])), @r"
    error: there is no song `Can - Spon` in the tables with `item_id`, `artist` and `title` of this pipeline
      hint: did you mean `Can - Spoon`?
    ");
}

#[test]
fn what_is_missing_or_old_is_said() {
    let lab = lab();
    assert_snapshot!(failed(&lab.line("report")), @r"
    error: there is nothing to report of `small`: none of its stages has a result in this store
      hint: `refrain run` makes them
    ");
    ok(lab.line("run --target popularity"));
    let facts_before = facts(&lab);
    let gap = facts_before["gaps"][0].as_str().expect("a gap");
    assert!(gap.starts_with("Not made yet: ") && gap.contains("train@plain"), "{gap}");
    ok(lab.line("run"));
    lab.edit("pipeline.yaml", "epochs: 3", "epochs: 2");
    let old = facts(&lab);
    let gap = old["gaps"][0].as_str().expect("a gap");
    assert!(gap.starts_with("No longer what the file says: train@plain, train@named"), "{gap}");
    assert_eq!(old["boards"][0]["rows"].as_array().expect("rows").len(), 3, "the last results are shown");
}

#[test]
fn tables_for_a_paper_and_for_a_readme() {
    let lab = after_a_run();
    let tex = ok(lab.line("report --format tex"));
    assert!(tex.contains("\\caption{leaderboard, on test}") && tex.contains("\\toprule"), "{tex}");
    let markdown = ok(lab.line("report --format md"));
    assert!(markdown.starts_with("# Small &amp; sound\n"), "{markdown}");
    assert!(markdown.contains("| popularity | ") && !markdown.contains("<script>"), "{markdown}");
    assert_snapshot!(failed(&lab.line("report --output page.pdf")), @r"
    error: the name `page.pdf` does not say which format is wanted
      hint: say it with --format html, md, tex or json
    ");
}

#[test]
fn what_was_picked_on_test_and_what_stages_warn_of_is_in_every_format() {
    let lab = lab();
    lab.edit("pipeline.yaml", "epochs: 3", "epochs: 3, select: test_best");
    ok(lab.line("run"));
    let facts = facts(&lab);
    let rows = facts["boards"][0]["rows"].as_array().expect("rows");
    let seen: Vec<&str> =
        rows.iter().filter(|row| row["on_test"] == true).filter_map(|row| row["variant"].as_str()).collect();
    assert_eq!(seen.len(), 2, "{rows:?}");
    assert!(rows.iter().all(|row| row["beyond"]["mrr"].is_f64() && row["beyond"]["coverage"].is_f64()), "{rows:?}");
    assert_eq!(facts["curves"][0]["on_test"], true);
    let caution = "the model's epoch was picked on the test set: its test metrics read too high";
    let of_evaluate = format!("evaluate: {caution}");
    let cautions = facts["cautions"].as_array().expect("cautions");
    assert_eq!(cautions.iter().filter(|line| **line == of_evaluate).count(), 1, "once for both variants: {cautions:?}");
    let summary = facts["summary"].to_string();
    assert!(summary.contains("† its epoch was picked on the test part"), "{summary}");
    for (format, named) in [("md", "named †"), ("tex", "named \\textdagger{}"), ("html", "named †")] {
        let text = ok(lab.line(&format!("report --format {format} --output -")));
        assert!(text.contains("Cautions") && text.contains(&caution[..20]), "{format}: {text}");
        assert!(text.contains(named) && text.contains("its epoch was picked on the test part"), "{format}: {text}");
        assert!(text.contains("Beyond accuracy"), "{format}: {text}");
    }
}

/// Every link of the leaderboard, clicked in a real browser: the first click
/// shows the number in words, the second the stage that measured it, the third
/// what that stage has read.
#[test]
fn every_number_of_the_leaderboard_is_explained_within_three_clicks() {
    let lab = after_a_run();
    ok(lab.line("report --output page.html"));
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("file://{}", lab.path("page.html").display()));
    let numbers =
        "[...document.querySelectorAll('table.numbers a.number')].map(a => [a.textContent, a.getAttribute('href')])";
    let numbers = browser.evaluate(numbers);
    let numbers = numbers.as_array().expect("numbers");
    assert!(numbers.len() >= 3 * 5, "{numbers:?}");
    for number in numbers {
        let (text, href) = (number[0].as_str().expect("text"), number[1].as_str().expect("a link"));
        browser.click(&format!("table.numbers a[href=\"{href}\"]"));
        let shown = format!(
            "(() => {{ const words = document.querySelector('{href}'); const box = words && words.getBoundingClientRect(); \
             return Boolean(box && box.height > 0 && words.textContent.trim().length > 0); }})()"
        );
        browser.wait_for(&shown);
        let words = browser.evaluate(&format!("document.querySelector('{href}').textContent"));
        assert!(!words.as_str().expect("words").is_empty(), "{text} leads to nothing");
    }
    browser.click("table.numbers a.number");
    browser.wait_for("document.querySelector('aside.explain:target, aside.explain:has(:target)') !== null");
    let stage = browser.evaluate("document.querySelector('aside.explain:target a[href^=\"#s\"], aside.explain:has(:target) a[href^=\"#s\"]').getAttribute('href')");
    let stage = stage.as_str().expect("a link to a stage").to_owned();
    browser.evaluate(&format!("document.querySelector('aside.explain a[href=\"{stage}\"]').click()"));
    browser.wait_for(&format!(
        "document.querySelector('{stage}').getBoundingClientRect().height > 0 && location.hash === '{stage}'"
    ));
    let inputs =
        browser.evaluate(&format!("document.querySelector('{stage}').querySelectorAll('a[href^=\"#s\"]').length"));
    assert!(inputs.as_u64() > Some(0), "the stage does not lead to what it read");
    let text = browser.evaluate("document.body.textContent.includes('<script>alert(1)</script>')");
    assert_eq!(text, Value::Bool(true), "the song's name is shown as it is");
    for width in [1200, 390] {
        assert_eq!(browser.overflow(width), 0, "the page is wider than a window of {width}");
    }
    assert_eq!(browser.console_errors(), Vec::<String>::new());
    // For whoever wants to look at it.
    if let Some(folder) = std::env::var_os("REFRAIN_SCREENSHOTS") {
        browser.screenshot(&Path::new(&folder).join("report.png"), 1200, false);
        browser.screenshot(&Path::new(&folder).join("report-dark.png"), 390, true);
    }
}
