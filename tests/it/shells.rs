//! Completions and manual pages, asked by the shells themselves where they are
//! installed.

use std::process::Command;

use crate::lab::{Lab, files_below, ok, skipped};

const PIPELINE: &str = "\
pipeline: songs
stages:
  songs:
    kind: read_table
    with: { path: \"${var.DATA}.csv\" }
  some:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT '${variant.a}' AS a FROM songs\" }
variants: { V1: { a: 1 }, V2: { a: 2 } }
";

fn lab() -> Lab {
    Lab::with(&[
        ("p.yaml", PIPELINE),
        ("pipeline.yaml", "pipeline: p\nstages: { only: { kind: read_table, with: { path: x.csv } } }\n"),
    ])
}

#[test]
fn every_shell_gets_a_script_and_others_a_hint() {
    let lab = lab();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(ok(lab.line(&format!("completions {shell}"))).contains("refrain"), "{shell}");
    }
    assert_eq!(lab.line("completions").code, 2);
    assert!(lab.line("completions cmd").stderr.contains("bash, elvish, fish, powershell, zsh"));
}

#[test]
fn stages_are_those_of_the_pipeline_that_the_line_names() {
    let lab = lab();
    let stages = |line: &str| ok(lab.refrain(["completions", "--stages", line]));
    assert_eq!(stages("refrain why "), "only\n");
    assert_eq!(stages("refrain why --set DATA=songs p.yaml so"), "songs\nsome\nsome@V1\nsome@V2\n");
    assert_eq!(stages("refrain why p.yaml "), "", "a variable is missing");
    assert_eq!(stages("refrain why nowhere.yaml "), "");
}

/// Runs a script in bash and gives what it prints; none where there is no bash.
fn bash(lab: &Lab, script: &str) -> Option<String> {
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_refrain")).parent().expect("a folder");
    let path = std::env::join_paths(
        [folder.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script]).current_dir(lab.path(".")).env("PATH", path.expect("a path"));
    let output = command.env_remove("REFRAIN_ARTIFACTS").output().ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

#[test]
fn bash_completes_commands_options_and_stages() {
    let lab = lab();
    let complete = |line: &str| {
        // What readline does when Tab is pressed at the end of a line; `@` and `=` part words.
        let script = format!(
            "source <(refrain completions bash)
            COMP_LINE='{line}' COMP_POINT=${{#COMP_LINE}}
            COMP_WORDS=($(sed -E 's/([@=])/ \\1 /g' <<< \"$COMP_LINE\"))
            [[ \"$COMP_LINE\" == *[\\ @=] ]] && COMP_WORDS+=('')
            COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            _refrain_with_stages refrain \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
            printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        bash(&lab, &script)
    };
    let Some(commands) = complete("refrain wa") else { return skipped("bash is not installed") };
    assert_eq!(commands, "watch\n");
    let shown = |line: &str| complete(line).expect("bash");
    assert!(shown("refrain run --off").contains("--offline"));
    assert_eq!(shown("refrain run --target on"), "only\n");
    assert_eq!(shown("refrain why on"), "only\n");
    assert_eq!(shown("refrain why --set DATA=songs p.yaml song"), "songs\n");
    assert_eq!(shown("refrain why --set DATA=songs p.yaml some@V"), "V1\nV2\n", "bash parts words at @");
    assert_eq!(shown("refrain memo lacks o"), "only\n");
}

#[test]
fn fish_and_zsh_take_their_scripts() {
    let lab = lab();
    for (shell, check) in [("fish", "--no-execute"), ("zsh", "-n")] {
        lab.write(shell, &ok(lab.line(&format!("completions {shell}"))));
        match Command::new(shell).arg(check).arg(lab.path(shell)).output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(_) => skipped(&format!("{shell} is not installed")),
        }
    }
}

#[test]
fn manual_pages_are_one_for_each_command() {
    let lab = lab();
    assert!(ok(lab.line("man")).contains(".TH refrain 1"));
    let answer = lab.line("man --output share/man1");
    assert_eq!(answer.code, 0, "{answer:#?}");
    let pages = files_below(&lab.path("share/man1"), ".1");
    assert!(pages.len() > 30 && answer.stderr.contains(&format!("wrote {} pages", pages.len())), "{answer:#?}");
    assert!(pages.iter().any(|page| page.ends_with("refrain-memo-import.1")), "{pages:?}");
}
