//! What the memo holds, as users see it: offline runs, `refrain memo`, and what
//! was sent and received.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use refrain::ground::{ContentHash, SystemClock};
use refrain::memo::VectorMemo;
use refrain::table::{Table, read_parquet, write_parquet};
use refrain::web::{Kept, KeptAnswers};
use serde_json::Value;

use crate::lab::{Lab, files_below, ok};

const CRAWL: &str = "\
pipeline: crawl
sandbox: { users: 60, songs: 40 }
stages:
  users:
    kind: crawl_users
    with: { max_users: 20 }
  loved:
    kind: crawl_loved_tracks
    inputs: { users: users }
    with: { per_user: 50, min_per_user: 1 }
  songs:
    kind: sql
    inputs: { loved: loved }
    with:
      query: select artist || ' / ' || title as item_id, artist, title from loved group by artist, title order by artist, title limit 10
  tags:
    kind: crawl_top_tags
    inputs: { tracks: songs }
  lyrics:
    kind: crawl_lyrics
    inputs: { tracks: songs }
  summaries:
    kind: summarize
    inputs: { items: songs }
    with: { model: m, system: Be brief., prompt: 'Sum up {{ title }} by {{ artist }}.' }
";

fn lab() -> Lab {
    let lab = Lab::with(&[("crawl.yaml", CRAWL)]);
    assert_eq!(lab.line("run crawl.yaml --json").finished()["ran"], 6);
    lab
}

/// The artifacts of all stages, by their names.
fn artifacts(lab: &Lab, options: &str) -> BTreeMap<String, String> {
    let paths: BTreeMap<String, PathBuf> =
        serde_json::from_str(&ok(lab.line(&format!("{options} path crawl.yaml --json")))).expect("JSON");
    paths.into_iter().map(|(stage, path)| (stage, path.file_name().expect("a name").to_string_lossy().into())).collect()
}

#[test]
fn offline_no_key_is_wanted_for_the_real_services() {
    let pipeline = "pipeline: live\nstages:\n  tracks: { kind: read_table, with: { path: tracks.csv } }\n  \
                    tags: { kind: crawl_top_tags, inputs: { tracks: tracks } }\n";
    let lab = Lab::with(&[("live.yaml", pipeline), ("tracks.csv", "item_id,artist,title\ni1,A,B\n")]);
    let run = lab.line("run live.yaml --offline");
    assert_eq!(run.code, 1, "{run:#?}");
    assert!(run.stderr.contains("1 of 1 rows has no answer in the memo"), "{}", run.stderr);
}

#[test]
fn an_offline_run_tells_all_that_it_lacks_and_publishes_no_half_of_it() {
    let lab = lab();
    let whole = artifacts(&lab, "");
    lab.edit("crawl.yaml", "limit 10", "limit 13");
    let run = lab.line("run crawl.yaml --offline --keep-going");
    assert_eq!(run.code, 1, "{run:#?}");
    for told in [
        "✗ tags  failed\n",
        "  error: 3 of 13 rows have no answer in the memo, and this run is offline:\n    lastfm GET /?method=track.getTopTags",
        "✗ lyrics  failed\n",
        "  error: 3 of 13 rows have no answer in the memo, and this run is offline:\n    lyricsovh GET /v1/",
        "✗ summaries  failed\n",
        "  error: 3 of 13 rows have no answer in the memo, and this run is offline:\n    chat POST /chat/completions “Sum up ",
        "hint: `refrain memo lacks summaries` lists them all; run once without --offline",
        "1 ran, 2 cached, 3 failed",
    ] {
        assert!(run.stderr.contains(told), "no `{told}` in {}", run.stderr);
    }
    assert_eq!(artifacts(&lab, "").get("lyrics"), whole.get("lyrics"), "what was whole before is still the result");

    let lacks = lab.line("memo lacks crawl.yaml summaries");
    assert_eq!((lacks.code, lacks.stdout.lines().count()), (1, 3), "{lacks:#?}");
    assert!(
        lacks.stderr.contains("3 of 13 rows have no answer in the memo: 3 requests to ask, at least"),
        "{lacks:#?}"
    );
    let json = lab.line("memo lacks crawl.yaml tags --json").stdout;
    let rows: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(rows.len() == 3 && rows[0]["key"].as_str().is_some_and(|key| key.len() == 64), "{json}");
    let none = lab.line("memo lacks crawl.yaml users");
    assert_eq!((none.code, none.stdout.as_str()), (0, ""), "{none:#?}");
    let wrong = lab.line("memo lacks crawl.yaml songs");
    assert!(wrong.code == 2 && wrong.stderr.contains("`songs` asks no API"), "{wrong:#?}");

    assert_eq!(lab.line("run crawl.yaml --json").finished()["failed"], 0);
    assert_eq!(lab.line("run crawl.yaml --offline --json --force tags --force lyrics").finished()["requests"], 0);
}

#[test]
fn a_crawl_travels_in_one_file_and_gives_the_same_artifacts_elsewhere() {
    let lab = lab();
    let exported = lab.line("memo export crawl.parquet");
    assert!(exported.stderr.contains("are a sandbox's, made up by a program"), "{exported:#?}");
    let again = lab.line("memo export crawl.parquet");
    assert!(again.code == 2 && again.stderr.contains("is there already"), "{again:#?}");
    ok(lab.line("memo export again.parquet"));
    let bytes = |name: &str| std::fs::read(lab.path(name)).expect("a file");
    assert_eq!(bytes("crawl.parquet"), bytes("again.parquet"), "the same memo, the same file");

    let imported: Value =
        serde_json::from_str(&ok(lab.line("--artifacts there memo import crawl.parquet --json"))).expect("JSON");
    assert_eq!(imported["new"], imported["rows"]);
    assert_eq!(imported["proven"], imported["rows"], "every key is that of its request");
    let twice: Value =
        serde_json::from_str(&ok(lab.line("--artifacts there memo import crawl.parquet --json"))).expect("JSON");
    assert_eq!((&twice["new"], &twice["known"]), (&0.into(), &imported["rows"]));
    ok(lab.line("--artifacts there memo export back.parquet"));
    assert_eq!(bytes("crawl.parquet"), bytes("back.parquet"), "what came is what went");

    let run = lab.line("--artifacts there run crawl.yaml --offline --json").finished();
    assert_eq!((&run["ran"], &run["requests"]), (&6.into(), &0.into()));
    assert_eq!(artifacts(&lab, "--artifacts there"), artifacts(&lab, ""));

    // Of one stage, of one provider, of nobody real.
    let exported = |options: &str| {
        let answer = lab.line(&format!("memo export part.parquet --overwrite {options}"));
        assert_eq!(answer.code, 0, "{answer:#?}");
        answer.stderr.split_whitespace().nth(1).expect("a count").to_owned()
    };
    assert_eq!(exported("--stage tags --pipeline crawl.yaml"), "10");
    assert_eq!(exported("--provider chat"), "10");
    assert_eq!(exported("--provider chat --since 1d"), "10");
    assert_eq!(exported("--since 2999-01-01"), "0");
    assert_eq!(exported("--live"), "0");
    assert_eq!(exported("--vectors"), "0");
    let empty = lab.line("--artifacts there memo import part.parquet");
    assert!(empty.stderr.contains("imported 0 new vectors"), "{empty:#?}");
    let wrong = lab.line("memo import crawl.yaml");
    assert_eq!(wrong.code, 2, "{wrong:#?}");
}

/// Answers that nobody gave, many and long enough for an import to be killed in
/// the middle.
fn many(lab: &Lab, count: u32) {
    let memo = KeptAnswers::new(lab.path("artifacts/memo-v1/http"), Arc::new(SystemClock));
    let answer = |number: u32| Kept {
        key: ContentHash::of(&number.to_le_bytes()),
        at: 1_000 + u64::from(number),
        status: 200,
        headers: BTreeMap::new(),
        request: format!("lastfm GET /?method=user.getinfo&user={number}"),
        world: Some("live".to_owned()),
        sent: None,
        rejected: false,
        body: number.to_string().into_bytes().repeat(100),
    };
    memo.append(&(0..count).map(answer).collect::<Vec<_>>()).expect("written");
}

#[test]
fn an_import_that_is_killed_is_finished_by_running_it_again() {
    let lab = lab();
    many(&lab, 20_000);
    ok(lab.line("memo export crawl.parquet"));
    let mut import =
        lab.command(["--artifacts", "there", "memo", "import", "crawl.parquet"]).spawn().expect("it starts");
    let written = || {
        let segments = files_below(&lab.path("there/memo-v1/http"), ".segment");
        segments.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|data| data.len()).sum::<u64>()
    };
    while written() < 1_000_000 && import.try_wait().expect("a process").is_none() {
        std::thread::yield_now();
    }
    import.kill().expect("SIGKILL");
    import.wait().expect("an end");
    let rest = lab.line("--artifacts there memo import crawl.parquet --json");
    let rest: Value = serde_json::from_str(&ok(rest)).expect("JSON");
    assert!(rest["known"].as_u64() > Some(500), "what was written is known: {rest}");
    ok(lab.line("--artifacts there memo export back.parquet"));
    let bytes = |name: &str| std::fs::read(lab.path(name)).expect("a file");
    assert!(bytes("crawl.parquet") == bytes("back.parquet"), "every answer is there, once and whole");
}

#[test]
fn vectors_travel_as_well_and_rows_that_are_none_are_named() {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.path("artifacts/objects-v1")).expect("a store");
    many(&lab, 3);
    let memo = VectorMemo::new(lab.path("artifacts/memo-v1/vectors"), Arc::new(SystemClock));
    let keys = ["rain", "sun"].map(|text| ContentHash::of(text.as_bytes()));
    memo.append(&[(keys[0], &[0.1, -0.0]), (keys[1], &[])]).expect("written");
    drop(memo);
    ok(lab.line("memo export vectors.parquet --vectors"));
    ok(lab.line("--artifacts there memo import vectors.parquet"));
    let there = VectorMemo::read_only(lab.path("there/memo-v1/vectors"), Arc::new(SystemClock));
    assert_eq!(keys.map(|key| there.find(key)), [Some(vec![0.1, -0.0]), Some(Vec::new())]);

    ok(lab.line("memo export crawl.parquet"));
    let table = read_parquet(&lab.path("crawl.parquet"), None).expect("a table");
    let names = table.column_names();
    let column = |name: &String| {
        let keys = [Some("no hash"), None, Some(&keys[0].to_string())].into_iter().collect::<StringArray>();
        let column: ArrayRef = if name == "key" { Arc::new(keys) } else { table.column(name).expect("a column") };
        (name.clone(), column)
    };
    let harmed = Table::of_columns(names.iter().map(column)).expect("a table");
    let file = std::fs::File::create(lab.path("harmed.parquet")).expect("a file");
    write_parquet(&harmed, file).expect("written");
    let import = lab.line("--artifacts there memo import harmed.parquet");
    assert_eq!(import.code, 1, "{import:#?}");
    for told in [
        "imported 1 new answer; 0 were there",
        "row 1 was refused: its key `no hash` is no hash",
        "row 2 was refused: it has no key",
    ] {
        assert!(import.stderr.contains(told), "no `{told}` in {}", import.stderr);
    }
}

#[test]
fn the_memo_is_counted_by_who_was_asked_for_what() {
    let lab = lab();
    let stats: Value = serde_json::from_str(&ok(lab.line("memo stats --json"))).expect("JSON");
    let groups = stats["answers"]["groups"].as_array().expect("groups");
    let count = |provider: &str, route: &str| -> u64 {
        let of = groups.iter().filter(|group| group["provider"] == provider && group["route"] == route);
        of.filter_map(|group| group["records"].as_u64()).sum()
    };
    assert_eq!([count("chat", "/chat/completions"), count("lastfm", "track.getTopTags")], [10, 10]);
    assert_eq!([count("lyricsovh", "/v1/…"), stats["answers"]["damaged"].as_u64().expect("a count")], [10, 0]);
    assert!(groups.iter().all(|group| group["world"].as_str().is_some_and(|world| world.starts_with("sandbox:"))));
    let text = ok(lab.line("memo stats"));
    assert!(text.contains("answers, ") && text.contains("0 vectors") && text.contains("user.getLovedTracks"), "{text}");
    assert_eq!(lab.line("--artifacts nowhere memo stats").code, 2);
}

#[test]
fn what_was_sent_and_received_is_shown_and_nothing_is_asked() {
    let lab = lab();
    let rows: Vec<Value> =
        serde_json::from_str(&ok(lab.line("show crawl.yaml summaries --exchanges -n 2 --json"))).expect("JSON");
    assert_eq!(rows.len(), 2);
    let row = rows[0]["row"].as_str().expect("a name");
    let (artist, title) = row.split_once(" / ").expect("both");
    let messages = &rows[0]["exchanges"][0]["sent"]["body"]["messages"];
    assert_eq!(messages[1]["content"], format!("Sum up {title} by {artist}."));
    assert_eq!(rows[0]["exchanges"][0]["received"]["status"], 200);

    let text = ok(lab.refrain(["show", "crawl.yaml", "summaries", "--exchange", row]));
    for told in [
        "  sent POST ",
        "    system:\n      Be brief.\n",
        &format!("    user:\n      Sum up {title} by {artist}.\n"),
        "  received 200, ",
        "\"choices\": [",
    ] {
        assert!(text.contains(told), "no `{told}` in {text}");
    }
    let lyrics = ok(lab.refrain(["show", "crawl.yaml", "lyrics", "--exchange", row]));
    assert!(lyrics.contains("/lyricsovh/v1/") && lyrics.contains("received "), "{lyrics}");
    let users = ok(lab.line("show crawl.yaml users --exchanges"));
    assert!(users.matches("method=user.getFriends").count() >= 1 && !users.contains("api_key"), "{users}");
    assert_eq!(ok(lab.line("show crawl.yaml lyrics --failed")), "no row failed\n");
    let wrong = lab.line("show crawl.yaml lyrics --exchange nobody");
    assert!(wrong.code == 2 && wrong.stderr.contains("`lyrics` has no row `nobody`"), "{wrong:#?}");
}
