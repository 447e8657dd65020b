//! Asking the artifacts: `refrain sql`, and what `refrain show` selects.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::lab::{Answer, CRAWL, Lab, ok};

const SONGS: &str = "\
artist,title,plays
Air,one,3
Air,\"two, or more\",5
Björk,,8
Can,\"say \"\"four\"\"\",13
Can,five,13
";

const PIPELINE: &str = "\
pipeline: songs
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
  by-artist:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT title, plays FROM songs WHERE artist = '${variant.artist}'\" }
  nested:
    kind: sql
    inputs: { songs: songs }
    with:
      query: >
        SELECT artist, ARRAY_AGG(plays) AS plays, CAST('2026-11-27' AS DATE) AS day,
        CAST(0 AS DOUBLE) / (COUNT(*) - COUNT(*)) AS none FROM songs GROUP BY artist ORDER BY artist
  later:
    kind: sql
    inputs: { songs: songs }
    with: { query: SELECT artist FROM songs }
variants:
  air: { artist: Air }
  b.2: { artist: Björk }
  c+c: { artist: Can }
";

/// Everything has run but the stage `later`.
fn lab() -> Lab {
    let lab = Lab::with(&[("pipeline.yaml", PIPELINE), ("songs.csv", SONGS)]);
    for stage in ["by-artist", "nested"] {
        let answer = lab.line(&format!("run -t {stage}"));
        assert_eq!(answer.code, 0, "{answer:#?}");
    }
    lab
}

fn sql(lab: &Lab, words: &[&str]) -> Answer {
    lab.refrain(std::iter::once(&"sql").chain(words))
}

fn csv(lab: &Lab, query: &str) -> String {
    ok(sql(lab, &[query, "--format", "csv"]))
}

fn json_of(answer: Answer) -> Value {
    serde_json::from_str(&ok(answer)).expect("stdout is JSON")
}

#[test]
fn stages_are_tables() {
    let lab = lab();
    let answer = sql(&lab, &["select artist, sum(plays) as plays from songs group by artist order by artist"]);
    assert_eq!(answer.stderr, "");
    assert_snapshot!(ok(answer), @r"
    artist  plays
    ──────  ─────
    Air         8
    Björk       8
    Can        26
    ");
    assert_eq!(csv(&lab, "select plays from \"by-artist@b.2\""), "plays\n8\n");
    let joined = "select s.title from songs s join \"by-artist@c+c\" c on s.title = c.title order by 1";
    assert_eq!(csv(&lab, joined), "title\nfive\n\"say \"\"four\"\"\"\n");
    assert_eq!(ok(sql(&lab, &["pipeline.yaml", "select count(*) as n from songs", "-F", "csv"])), "n\n5\n");
}

#[test]
fn a_name_that_means_several_instances_is_all_of_them() {
    let lab = lab();
    let all =
        "variant,title,plays\nair,one,3\nair,\"two, or more\",5\nb.2,,8\nc+c,\"say \"\"four\"\"\",13\nc+c,five,13\n";
    assert_eq!(csv(&lab, "select * from \"by-artist\""), all);
    assert_eq!(csv(&lab, "select * from \"by-artist@*\""), all);
    let grouped = "select variant, avg(plays) as plays from \"by-artist\" group by variant order by variant";
    assert_eq!(csv(&lab, grouped), "variant,plays\nair,4.0\nb.2,8.0\nc+c,13.0\n");
}

#[test]
fn seeds_are_told_apart_too() {
    let seeds = PIPELINE.replace("pipeline: songs", "pipeline: songs\nseeds: [3, 5]");
    let lab = Lab::with(&[("pipeline.yaml", &seeds), ("songs.csv", SONGS)]);
    lab.ran("");
    let made = csv(&lab, "select * from \"by-artist\" where plays = 3");
    // Stages without random choices are made once, and then there is no seed to tell.
    assert!(
        ["variant,title,plays\nair,one,3\n", "variant,seed,title,plays\nair,3,one,3\nair,5,one,3\n"]
            .contains(&made.as_str()),
        "{made}"
    );
}

#[test]
fn variants_that_are_missing_are_told_and_left_out() {
    let lab = lab();
    lab.edit("pipeline.yaml", "c+c: { artist: Can }", "c+c: { artist: Can }\n  new: { artist: Neu }");
    let answer = sql(&lab, &["select count(*) as n from \"by-artist\"", "-F", "csv"]);
    assert_eq!(answer.stdout, "n\n5\n");
    assert_snapshot!(answer.seen(), @r"
    exit code 0
    ! `by-artist` is without by-artist@new: not made yet
    ");
}

#[test]
fn the_tables_are_listed_without_a_query() {
    let lab = lab();
    assert_snapshot!(ok(sql(&lab, &[])), @r#"
    table        instances  made  rows  columns
    ───────────  ─────────  ────  ────  ────────────────────────
    songs                1     1     5  artist, title, plays
    "by-artist"          3     3     5  title, plays
    nested               1     1     3  artist, plays, day, none
    later                1     0     0
    "#);
    let listed = json_of(sql(&lab, &["pipeline.yaml", "-F", "json"]));
    assert_eq!(listed[3], json!({"table": "later", "instances": 1, "made": 0, "rows": 0, "columns": ""}));
}

#[test]
fn formats_keep_what_they_can_say() {
    let lab = lab();
    let query = "select * from nested order by artist limit 1";
    assert_eq!(csv(&lab, query), "artist,plays,day,none\nAir,\"[3,5]\",2026-11-27,NaN\n");
    let row = json!({"artist": "Air", "plays": [3, 5], "day": "2026-11-27", "none": null});
    assert_eq!(json_of(sql(&lab, &[query, "-F", "json"])), json!([row]));
    assert_eq!(serde_json::from_str::<Value>(&ok(sql(&lab, &[query, "-F", "jsonl"]))).unwrap(), row);
    assert_eq!(ok(sql(&lab, &["select * from songs where plays > 99", "-F", "json"])), "[]\n");
    assert_eq!(csv(&lab, "select title from songs where title is null"), "title\n\n");
    assert_eq!(csv(&lab, "select '' as empty, null as none"), "empty,none\n\"\",\n");
}

#[test]
fn rows_of_a_table_for_people_are_limited_and_it_is_said() {
    let lab = lab();
    let many = "select a.title from songs a cross join songs b cross join songs c";
    let text = ok(sql(&lab, &[many]));
    assert_eq!(text.lines().count(), 2 + 100 + 1, "{text}");
    assert!(text.ends_with("… more: --limit N shows more of them, --format csv all\n"), "{text}");
    assert_eq!(ok(sql(&lab, &[many, "--limit", "3"])).lines().count(), 2 + 3);
    assert_eq!(csv(&lab, many).lines().count(), 1 + 125);
    assert_eq!(ok(sql(&lab, &[many, "-n", "7", "-F", "jsonl"])).lines().count(), 7);
    let answer = sql(&lab, &[many, "--limit", "20000"]);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.contains("no more than 10,000 rows"), "{answer:#?}");
}

#[test]
fn a_file_appears_whole_and_in_the_format_of_its_name() {
    let lab = lab();
    lab.write("out.csv", "old");
    let query = "select title, plays from songs order by plays desc limit 2";
    assert_eq!(ok(sql(&lab, &[query, "--output", "out.csv"])), "");
    let read = |name: &str| std::fs::read_to_string(lab.path(name)).unwrap();
    assert_eq!(read("out.csv"), "title,plays\n\"say \"\"four\"\"\",13\nfive,13\n");
    ok(sql(&lab, &[query, "-o", "out.txt"]));
    assert!(read("out.txt").starts_with("title       plays\n"), "{}", read("out.txt"));
    ok(sql(&lab, &[query, "-o", "rows.parquet"]));
    let table = refrain::table::read_parquet(&lab.path("rows.parquet"), None).unwrap();
    assert_eq!((table.column_names(), table.rows()), (vec!["title".to_owned(), "plays".to_owned()], 2));

    let failed = sql(&lab, &["select cast(title as integer) from songs", "--output", "out.csv"]);
    assert_eq!(failed.code, 2, "{failed:#?}");
    assert!(failed.stderr.starts_with("error: could not answer the query: "), "{failed:#?}");
    assert!(read("out.csv").starts_with("title,plays\n"), "the old file is still there");
    let left: Vec<_> = std::fs::read_dir(lab.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
    let nowhere = sql(&lab, &[query, "-o", "none/out.csv"]);
    assert_eq!(nowhere.code, 2);
    assert!(nowhere.stderr.starts_with("error: could not write `none/out.csv`"), "{nowhere:#?}");
}

#[test]
#[cfg(unix)]
fn a_link_is_followed_and_a_device_is_written_to() {
    let lab = lab();
    lab.write("there/out.csv", "old");
    std::os::unix::fs::symlink("there/out.csv", lab.path("link.csv")).unwrap();
    ok(sql(&lab, &["select 1 as n", "-o", "link.csv"]));
    assert_eq!(std::fs::read_to_string(lab.path("there/out.csv")).unwrap(), "n\n1\n");
    assert!(lab.path("link.csv").is_symlink());
    ok(sql(&lab, &["select 1 as n", "-o", "/dev/null", "-F", "csv"]));
    assert!(!std::path::Path::new("/dev/null").is_file());
}

#[test]
fn parquet_goes_to_a_pipe() {
    let lab = lab();
    let output = lab.command(["sql", "select * from songs", "-F", "parquet"]).output().unwrap();
    assert_eq!((&output.stdout[..4], output.status.code()), (&b"PAR1"[..], Some(0)));
}

#[test]
fn a_query_is_read_from_stdin() {
    let lab = lab();
    let mut command = lab.command(["sql", "-", "--format", "csv"]);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let query = b"-- the first\nselect count(*) as n -- all\nfrom songs;\n";
    process.stdin.take().unwrap().write_all(query).unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "n\n5\n");
}

#[test]
fn mistakes_say_what_was_meant() {
    let lab = lab();
    let seen = |query: &str| sql(&lab, &[query]).seen();
    assert_snapshot!(seen("select titel from songs"), @r#"
    exit code 2
    error: could not answer the query: not found: unable to find column "titel"
      hint: did you mean `title`? the tables are songs(artist, title, plays)
    "#);
    assert_snapshot!(seen("select title from song"), @r"
    exit code 2
    error: there is no stage `song` in this pipeline
      hint: did you mean `songs`?
    ");
    assert_snapshot!(seen("select title from songs.tabel"), @r#"
    exit code 2
    error: the query names the table songs.tabel without quotes, which would mean another
      hint: write "songs.tabel"
    "#);
    assert_snapshot!(seen("select title from \"songs.tabel\""), @r"
    exit code 2
    error: there is no output `songs.tabel` in this pipeline
      hint: did you mean `table`?
    ");
    assert_snapshot!(seen("select title from by-artist"), @r#"
    exit code 2
    error: could not read the query: sql parser error: Expected: end of statement, found: - at Line: 1, Column: 21
      hint: names with `.`, `-`, `+`, `@` or `#` in them stand in double quotes: "stage.output@V1"
    "#);
    assert_snapshot!(seen("select title from \"by-artist@air2\""), @r"
    exit code 2
    error: there is no stage `by-artist@air2` in this pipeline
      hint: did you mean `by-artist@air`?
    ");
    assert_snapshot!(seen("select title frm songs"), @r#"
    exit code 2
    error: could not read the query: sql parser error: Expected: end of statement, found: songs at Line: 1, Column: 18
      hint: names with `.`, `-`, `+`, `@` or `#` in them stand in double quotes: "stage.output@V1"
    "#);
    assert_snapshot!(seen("drop table songs"), @r"
    exit code 2
    error: `DROP` is no query
      hint: write a SELECT: nothing can be changed
    ");
    assert_snapshot!(seen(" "), @r"
    exit code 2
    error: the query is empty
      hint: write a SELECT: nothing can be changed
    ");
    assert_snapshot!(seen("select artist from later"), @r"
    exit code 2
    error: `later` has not been made yet
      hint: make it with `refrain run --target 'later'`
    ");
    assert_snapshot!(sql(&lab, &["select", "title"]).seen(), @r"
    exit code 2
    error: `select` is no pipeline file
      hint: its name ends with .yaml or .yml; the query is one word, in quotes
    ");
}

#[test]
fn what_a_query_makes_itself_may_not_be_taken_for_a_stage() {
    let lab = lab();
    let query = "with later as (select plays from songs where plays > 8) select sum(plays) as n from later";
    assert_eq!(csv(&lab, query), "n\n26\n");
}

#[test]
fn a_reader_that_goes_away_ends_it_without_a_word() {
    let lab = lab();
    let many = format!("select a.* from songs a{}", " cross join songs");
    let many = (0..7).fold(many, |query, n| format!("{query} cross join songs s{n}"));
    for format in ["csv", "json", "jsonl", "parquet"] {
        let mut command = lab.command(["sql", &many, "--format", format]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(process.stdout.take());
        let output = process.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{format}");
    }
}

#[test]
fn the_synthetic_is_said_on_stderr() {
    let lab = Lab::with(&[("pipeline.yaml", CRAWL)]);
    assert_eq!(lab.line("run --sandbox -t users").code, 0);
    let answer = sql(&lab, &["select count(*) as n from users", "-F", "csv"]);
    assert!(answer.stdout.starts_with("n\n") && answer.stderr.contains("synthetic data"), "{answer:#?}");
}

#[test]
fn show_chooses_rows_and_columns() {
    let lab = lab();
    let rows = |words: &[&str]| {
        let shown = json_of(lab.refrain([&["show", "songs", "--json"], words].concat()));
        shown["first_rows"].as_array().unwrap().iter().map(|row| row["title"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(rows(&["--sort", "plays:desc", "-n", "2"]), ["say \"four\"", "five"]);
    assert_eq!(
        rows(&["--sort", "artist:desc", "--sort", "title", "-n", "3"]),
        [json!("five"), json!("say \"four\""), json!(null)]
    );
    assert_eq!(rows(&["--sort", "title", "-n", "9"]).last().unwrap(), &json!(null));
    assert_eq!(
        rows(&["--where", "plays between 4 and 9 or title = 'one' -- or"]),
        [json!("one"), json!("two, or more"), json!(null)]
    );
    let sample = rows(&["--sample", "2"]);
    assert_eq!((sample.len(), &rows(&["--sample", "2"])), (2, &sample));
    let others = (1..9).map(|seed| rows(&["--sample", "2", "--seed", &seed.to_string()]));
    assert!(others.into_iter().any(|other| other != sample));
    assert_eq!(rows(&["--sample", "99", "--sort", "plays:desc", "--where", "artist = 'Air'"]), ["two, or more", "one"]);
    let text = ok(lab.refrain(["show", "songs", "--where", "artist = 'Can'", "--columns", "plays,title", "-n", "1"]));
    let shown: Vec<&str> = text.lines().skip(2).collect();
    assert_snapshot!(shown.join("\n"), @r#"
    column  type
    ──────  ────
    artist  str
    title   str
    plays   i64

    2 rows for which artist = 'Can'

    plays  title
    ─────  ──────────
       13  say "four"
    … 1 more
    "#);
    let all = json_of(lab.refrain(["show", "songs", "--columns", "plays", "--where", "plays > 5", "--json"]));
    assert_eq!((&all["first_rows"][0], &all["matching"]), (&json!({"plays": 8}), &json!(3)));
}

#[test]
fn show_sums_up_columns() {
    let lab = lab();
    let text = ok(lab.line("show songs --stats"));
    assert_snapshot!(text.lines().skip(2).collect::<Vec<_>>().join("\n"), @r"
    column  type  nulls  distinct   min    mean           max  values
    ──────  ────  ─────  ────────  ────  ──────  ────────────  ───────────────────────────
    artist  str       0         3   Air                   Can  Air 40%, Can 40%, Björk 20%
    title   str       1         4  five          two, or more
    plays   i64       0         4     3  8.4000            13  ▄  ▄    ▄      █
    ");
    let nested = ok(lab.line("show nested --stats --columns plays,day,none"));
    assert_snapshot!(nested.lines().skip(2).collect::<Vec<_>>().join("\n"), @r"
    column  type       nulls  distinct         min    mean         max  values
    ──────  ─────────  ─────  ────────  ──────────  ──────  ──────────  ─────────
    plays   list<i64>      0                     1  1.6667           2  (lengths)
    day     date           0         1  2026-11-27          2026-11-27
    none    f64            0         0                                  NaN 3
    ");
    let stats = json_of(lab.refrain(["show", "songs", "--stats", "--json", "--where", "artist = 'Can'"]));
    assert_eq!(
        (&stats["matching"], &stats["stats"][0]["frequent"]),
        (&json!(2), &json!([{"value": "Can", "count": 2}]))
    );
    let plays = json!({
        "name": "plays", "type": "i64", "nulls": 0, "nans": 0, "distinct": 1, "distinct_is_exact": true, "min": 13,
        "max": 13, "mean": 13.0, "histogram": null, "frequent": null,
    });
    assert_eq!(stats["stats"][2], plays);
}

#[test]
fn show_says_what_is_wrong_with_a_choice() {
    let lab = lab();
    let seen = |words: &[&str]| lab.refrain([&["show", "songs"], words].concat()).seen();
    assert_snapshot!(seen(&["--sort", "play"]), @r"
    exit code 2
    error: `songs` has no column `play`
      hint: did you mean `plays`?
    ");
    assert_snapshot!(seen(&["--columns", "title,x"]), @r"
    exit code 2
    error: `songs` has no column `x`
      hint: the columns are artist, title, plays
    ");
    assert_snapshot!(seen(&["--where", "play > 3"]), @r#"
    exit code 2
    error: could not answer the query: not found: unable to find column "play"
      hint: did you mean `plays`? the tables are songs(artist, title, plays)
    "#);
    assert_snapshot!(seen(&["--where", "plays >"]), @r"
    exit code 2
    error: could not answer the query: sql parser error: Expected: an expression, found: ) at Line: 3, Column: 1
      hint: the tables are songs(artist, title, plays)
    ");
    assert!(seen(&["--stats", "--sort", "plays"]).contains("cannot be used with"), "clap refuses it");
}

/// 2.25 million rows, which would take some 500 MB as a whole.
const LARGE: &str = "\
pipeline: large
stages:
  numbers:
    kind: read_table
    with: { path: numbers.csv }
  plays:
    kind: sql
    inputs: { a: numbers, b: numbers }
    with:
      query: >
        SELECT concat('a user whose number is ', CAST(a.n * 1500 + b.n AS VARCHAR)) AS user,
        concat('an artist called ', CAST(b.n AS VARCHAR)) AS artist, a.n * b.n AS plays,
        concat('a title that is as long as titles are ', CAST(a.n + b.n AS VARCHAR)) AS title, a.n / (b.n + 1.0) AS score
        FROM a CROSS JOIN b
";

/// The most memory that a command held, in megabytes.
#[cfg(target_os = "linux")]
fn peak(lab: &Lab, words: &[&str]) -> u64 {
    let mut process = lab.command(words).stdout(Stdio::null()).spawn().expect("the binary starts");
    let mut most = 0;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
        let held =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(held.unwrap_or(0) / 1024);
        if let Some(ended) = process.try_wait().expect("a child") {
            assert!(ended.success(), "{words:?}");
            return most;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_asked_of_many_rows_takes_little_memory() {
    let numbers = (0..1500).fold("n\n".to_owned(), |mut text, n| {
        writeln!(text, "{n}").expect("text");
        text
    });
    let lab = Lab::with(&[("pipeline.yaml", LARGE), ("numbers.csv", &numbers)]);
    assert_eq!(lab.line("run").code, 0);
    let artists =
        "select artist, count(*) as n, avg(score) as score from plays group by artist order by n desc limit 5";
    for words in [
        &["show", "plays"][..],
        &["show", "plays", "--sample", "10"],
        &["show", "plays", "--sort", "score:desc"],
        &["show", "plays", "--where", "plays % 7 = 3"],
        &["show", "plays", "--stats"],
        &["sql", artists],
        &["sql", "select * from plays where score > 1", "--format", "csv"],
    ] {
        let held = peak(&lab, words);
        eprintln!("{words:?} {held} MB");
        assert!(held < 250, "{words:?} held {held} MB");
    }
}
