//! What a user is told when something is wrong: whole texts, word for word.

use insta::assert_snapshot;

use crate::lab::Lab;

const GOOD: &str = "\
pipeline: good
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
  loud:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT * FROM songs\" }
";

const SONGS: &str = "artist,title\nA,one\nB,two\n";

/// Five mistakes: an unknown key, an unknown kind, an unknown stage, an unknown
/// setting, a setting of the wrong type.
const FIVE: &str = "\
pipeline: five
seeed: 3
stages:
  songs:
    kind: read_tabel
    with: { path: songs.csv }
  core:
    kind: filter_k_core
    inputs: { interactions: song }
    with: { min_per_usr: 5, min_per_item: many, min_per_user: 2 }
";

#[test]
fn five_mistakes_get_five_messages_and_nothing_runs() {
    let lab = Lab::with(&[("five.yaml", FIVE)]);
    let answer = lab.line("run five.yaml");
    assert_eq!(answer.code, 2, "{answer:#?}");
    assert!(answer.stdout.is_empty());
    let starts = answer.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(starts, 5, "{}", answer.stderr);
    for (place, line) in [
        ("five.yaml:2:1", "seeed: 3"),
        ("five.yaml:5:11", "    kind: read_tabel"),
        ("five.yaml:9:29", "    inputs: { interactions: song }"),
        ("five.yaml:10:13", "min_per_usr: 5"),
        ("five.yaml:10:43", "min_per_item: many"),
    ] {
        assert!(answer.stderr.contains(place), "no {place} in\n{}", answer.stderr);
        assert!(answer.stderr.contains(line), "no `{line}` in\n{}", answer.stderr);
    }
    assert_eq!(answer.stderr.matches("hint:").count(), 5, "{}", answer.stderr);
    assert!(answer.stderr.ends_with("\n\n5 mistakes in five.yaml; nothing ran\n"), "{}", answer.stderr);
    assert!(!lab.path("artifacts").exists());
}

#[test]
fn a_missing_file_is_named() {
    let lab = Lab::new();
    let answer = lab.line("run nowhere.yaml");
    assert_snapshot!(answer.seen(), @r"
    exit code 2
    error: could not read `nowhere.yaml`: No such file or directory (os error 2)
      hint: give the path of a pipeline's YAML file

    1 mistake in nowhere.yaml; nothing ran
    ");
}

#[test]
fn no_pipeline_at_all_is_said() {
    let lab = Lab::new();
    assert_snapshot!(lab.line("plan").seen(), @r"
    exit code 2
    error: no pipeline is named, and there is no pipeline.yaml here and no pipelines/demo.yaml
      hint: name a file: `refrain run FILE`
    ");
}

#[test]
fn an_unknown_stage_is_answered_with_what_was_probably_meant() {
    let lab = Lab::with(&[("good.yaml", GOOD), ("songs.csv", SONGS)]);
    assert_snapshot!(lab.line("why good.yaml luod").seen(), @r"
    exit code 2
    error: there is no stage `luod` in this pipeline
      hint: did you mean `loud`?
    ");
    assert_snapshot!(lab.line("run good.yaml --target everything").seen(), @r"
    exit code 2
    error: there is no stage `everything` in this pipeline
      hint: the stages are loud, songs
    ");
}

#[test]
fn an_artifact_that_is_not_there_yet_is_said_to_be_so() {
    let lab = Lab::with(&[("good.yaml", GOOD), ("songs.csv", SONGS)]);
    assert_snapshot!(lab.line("path good.yaml loud").seen(), @r"
    exit code 2
    error: `loud` has not been made yet
      hint: make it with `refrain run --target loud`
    ");
    assert_snapshot!(lab.line("show good.yaml").seen(), @r"
    exit code 2
    error: no stage is named
      hint: `refrain status` lists the stages
    ");
}

#[test]
fn two_files_or_two_stages_are_refused() {
    let lab = Lab::new();
    assert_snapshot!(lab.line("show a.yaml b.yaml").seen(), @r"
    exit code 2
    error: two pipeline files are named
      hint: name one file and one stage
    ");
    assert_snapshot!(lab.line("why a b").seen(), @r"
    exit code 2
    error: two stages are named; the second is `b`
      hint: a pipeline file's name ends with .yaml or .yml
    ");
}

#[test]
fn a_missing_input_file_stops_the_run_before_it_starts() {
    let lab = Lab::with(&[("good.yaml", GOOD)]);
    let answer = lab.line("run good.yaml");
    assert_eq!(answer.code, 2, "{answer:#?}");
    assert!(answer.stderr.contains("songs.csv"), "{answer:#?}");
    assert!(answer.stderr.contains("`songs`"), "{answer:#?}");
}

#[test]
fn a_stage_that_fails_is_told_with_its_cause_and_what_it_stops() {
    let lab = Lab::with(&[("good.yaml", GOOD), ("songs.csv", SONGS)]);
    lab.edit("good.yaml", "SELECT * FROM songs", "SELECT nothing FROM songs");
    let answer = lab.line("run good.yaml --jobs 1");
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.stderr.contains("✗ loud  failed"), "{answer:#?}");
    assert!(answer.stderr.contains("nothing"), "{answer:#?}");
    assert!(answer.stderr.ends_with("1 ran, 0 cached, 1 failed\n"), "{answer:#?}");
}

/// A pipeline that needs the real Last.fm.
const CRAWL: &str = "\
pipeline: crawl
limiters:
  lastfm: { per_second: 5 }
stages:
  users:
    kind: crawl_users
    with: { limiter: lastfm, max_users: 10 }
";

#[test]
fn a_missing_key_stops_the_run_before_the_first_request() {
    let lab = Lab::with(&[("crawl.yaml", CRAWL)]);
    let answer = lab.line("run crawl.yaml");
    assert_eq!(answer.code, 2, "{answer:#?}");
    for words in ["LASTFM_API_KEY", "`users`", "--sandbox"] {
        assert!(answer.stderr.contains(words), "no {words} in {answer:#?}");
    }
}

#[test]
fn wrong_arguments_are_refused_with_the_usage() {
    let lab = Lab::new();
    for line in ["", "fly", "run --jobs 0", "run --set x", "run --color sometimes", "graph --format png", "show"] {
        let answer = lab.line(line);
        assert_eq!(answer.code, 2, "`{line}` gave {answer:#?}");
        assert!(answer.stdout.is_empty(), "`{line}` gave {answer:#?}");
        assert!(answer.stderr.contains("Usage:") || answer.stderr.contains("--help"), "`{line}` gave {answer:#?}");
    }
}

#[test]
fn every_command_has_its_help() {
    let lab = Lab::new();
    let commands = [
        "run",
        "watch",
        "plan",
        "why",
        "bless",
        "runs",
        "diff",
        "status",
        "push",
        "pull",
        "graph",
        "show",
        "path",
        "init",
        "check",
        "kinds",
        "schema",
        "sandbox",
        "model",
        "model fetch",
        "completions",
        "man",
    ];
    for command in commands {
        let answer = lab.line(&format!("{command} --help"));
        assert_eq!(answer.code, 0, "`{command}` gave {answer:#?}");
        assert!(answer.stdout.contains("Usage:") && answer.stderr.is_empty(), "`{command}` gave {answer:#?}");
    }
    let all = lab.line("--help");
    for command in commands.iter().filter(|command| !command.contains(' ')) {
        assert!(all.stdout.contains(&format!("  {command} ")), "no {command} in\n{}", all.stdout);
    }
    assert!(all.stdout.contains("Exit codes: 0 done, 1 a stage failed, 2 the file or the arguments are wrong"));
}

#[test]
fn colour_is_used_only_where_it_is_wanted() {
    let lab = Lab::new();
    assert!(!lab.line("run nowhere.yaml").stderr.contains('\u{1b}'));
    assert!(lab.line("run nowhere.yaml --color always").stderr.contains("\u{1b}[1;31merror:\u{1b}[0m"));
}
