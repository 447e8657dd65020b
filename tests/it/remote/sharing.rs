//! One suite for every server: what one machine has made, another finds done.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::servers::{SECRET, Server};
use super::{ALL, PIPELINE, artifacts, bytes_of, machine, on, well};
use crate::lab::{Lab, files_below};
use crate::shards;

#[test]
fn what_one_machine_made_another_finds_done_on_every_server() {
    for server in Server::all() {
        finds_all_done(&server);
        changes_one_stage(&server);
        pulls_and_pushes(&server);
        looks_after(&server);
    }
}

/// The last event of what was moved.
fn shared(answer: &crate::lab::Answer) -> Value {
    answer.events().into_iter().find(|event| event["event"] == "shared").unwrap_or_default()
}

fn finds_all_done(server: &Server) {
    let (first, second) = (machine(3_000), machine(3_000));
    let made = well(&first, server, "run p.yaml --json");
    assert_eq!(made.outcomes(&["ran"]), ALL, "{}", server.address);
    assert_eq!((&shared(&made)["pushed"], &shared(&made)["not_pushed"]), (&5.into(), &0.into()));
    let plan = well(&second, server, "plan p.yaml");
    assert!(plan.stdout.contains("in the shared store"), "{plan:#?}");
    let found = well(&second, server, "run p.yaml --json");
    assert_eq!(found.outcomes(&["pulled", "restored", "cached"]), ALL, "{}", server.address);
    assert!(artifacts(&second).is_empty(), "a plan needs records only");
    let again = well(&second, server, "run p.yaml --json");
    assert_eq!((again.outcomes(&["cached"]), shared(&again)), (ALL.map(str::to_owned).to_vec(), Value::Null));
    assert!(well(&second, server, "status p.yaml").stdout.contains("in the shared store"));
    assert_eq!(bytes_of(&second, server, "counts"), bytes_of(&first, server, "counts"));
    assert_eq!(artifacts(&second).len(), 1, "only what was asked for was fetched");
    well(&second, server, "verify");
    no_secret_in(&first);
    no_secret_in(&second);
}

fn changes_one_stage(server: &Server) {
    let lab = machine(3_000);
    lab.edit("p.yaml", "plays > 1", "plays > 2");
    let answer = well(&lab, server, "run p.yaml --json");
    // Its own result differs, and what is below it reads how many rows there are.
    let mut ran = answer.outcomes(&["ran"]);
    ran.retain(|stage| stage != "total");
    assert_eq!(ran, ["many"], "{answer:#?}");
    assert!(artifacts(&lab).len() <= 4, "its inputs were fetched, and nothing else: {:?}", artifacts(&lab));
    let alone = machine(3_000);
    alone.edit("p.yaml", "plays > 1", "plays > 2");
    assert_eq!(alone.line("run p.yaml --remote none").code, 0);
    let same = |lab: &Lab| fs::read(lab.artifact("p.yaml many")).expect("an artifact");
    assert_eq!(same(&lab), same(&alone), "what was fetched is what would have been made");
}

fn pulls_and_pushes(server: &Server) {
    let lab = machine(3_000);
    let pulled = well(&lab, server, "pull p.yaml --json");
    let pulled: Value = serde_json::from_str(&pulled.stdout).expect("JSON");
    assert_eq!((&pulled["results"], &pulled["fetched"]), (&5.into(), &5.into()));
    assert_eq!(lab.run_outcomes("p.yaml --remote none").values().filter(|how| *how == "cached").count(), 5);
    let pushed = well(&lab, server, "push p.yaml --json");
    let pushed: Value = serde_json::from_str(&pushed.stdout).expect("JSON");
    assert_eq!((&pushed["results"], &pushed["sent"], &pushed["bytes"]), (&5.into(), &0.into(), &0.into()));
    let one = machine(3_000);
    let pulled = well(&one, server, "pull p.yaml counts --json");
    let pulled: Value = serde_json::from_str(&pulled.stdout).expect("JSON");
    assert_eq!(pulled["results"], 2, "what it needs comes with it");
    well(&one, server, "verify");
}

fn looks_after(server: &Server) {
    let lab = machine(3_000);
    let verified = well(&lab, server, "verify --remote --json");
    let verified: Value = serde_json::from_str(&verified.stdout).expect("JSON");
    assert_eq!(verified["findings"], Value::Array(vec![]), "{}", server.address);
    assert!(verified["manifests"].as_u64() >= Some(6) && verified["objects"].as_u64() >= Some(6), "{verified}");
    let kept = well(&lab, server, "gc --remote --keep-days 0 --yes");
    assert!(kept.stderr.contains("nothing to delete"), "{kept:#?}");
    let found = well(&machine(3_000), server, "run p.yaml --json");
    assert_eq!(found.outcomes(&["pulled"]), ALL);
}

/// Nothing that a machine wrote holds the secret.
fn no_secret_in(lab: &Lab) {
    for path in files_below(&lab.path("."), "") {
        let bytes = fs::read(&path).unwrap_or_default();
        let holds = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!holds, "the secret is in {}", path.display());
    }
}

#[test]
fn a_web_server_over_a_folder_can_be_read_and_not_written() {
    let folder = Server::folder();
    let first = machine(60_000);
    well(&first, &folder, "run p.yaml");
    let Some(web) = Server::http(&folder.path()) else { return };
    let second = machine(60_000);
    assert_eq!(well(&second, &web, "run p.yaml --json").outcomes(&["pulled"]), ALL);
    assert_eq!(bytes_of(&second, &web, "plays"), bytes_of(&first, &folder, "plays"));
    let refused = on(&second, &web, "push p.yaml");
    assert!(refused.code != 0 && refused.stderr.contains("can only be read"), "{refused:#?}");
    second.edit("p.yaml", "plays > 1", "plays > 9");
    let changed = well(&second, &web, "run p.yaml");
    assert!(!changed.stderr.contains("not sent"), "{changed:#?}");
}

#[test]
fn damage_in_the_shared_store_is_found_taken_out_and_made_again() {
    let folder = Server::folder();
    let first = machine(3_000);
    well(&first, &folder, "run p.yaml");
    let artifact = first.artifact("p.yaml counts");
    let name = artifact.file_name().expect("a name").to_string_lossy().into_owned();
    let there = folder.path().join("objects-v1").join(&name[..2]).join(&name);
    overwrite(&there, |bytes| bytes[100] ^= 1);
    let second = machine(3_000);
    let refused = on(&second, &folder, "path p.yaml counts");
    assert_ne!(refused.code, 0, "nothing is made yet");
    well(&second, &folder, "run p.yaml");
    let refused = on(&second, &folder, "path p.yaml counts");
    assert!(refused.stderr.contains("do not have the hash") && refused.code != 0, "{refused:#?}");
    let verified = on(&second, &folder, "verify --remote");
    assert!(verified.code == 1 && verified.stdout.contains(&name), "{verified:#?}");
    well(&second, &folder, "verify --remote --repair");
    assert!(!there.exists());
    // The record is gone there; the machine that has the result sends it again, another makes it.
    let third = machine(3_000);
    assert_eq!(well(&third, &folder, "run p.yaml --json").outcomes(&["ran"]), ["counts"]);
    assert!(there.exists());
    well(&third, &folder, "verify --remote");
    // One that is gone altogether is made again in the same run that needs it.
    fs::remove_file(&there).expect("removed");
    let fourth = machine(3_000);
    fourth.edit("p.yaml", "plays > 1", "plays > 2");
    let ran = well(&fourth, &folder, "run p.yaml --json").outcomes(&["ran", "unchanged"]);
    assert!(ran.contains(&"counts".to_owned()) && ran.contains(&"many".to_owned()), "{ran:?}");
}

#[expect(clippy::disallowed_methods, reason = "the damage is the point")]
fn overwrite(path: &std::path::Path, edit: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    edit(&mut bytes);
    fs::write(path, bytes).expect("written");
}

#[test]
fn only_what_no_record_names_is_collected_and_only_when_it_is_old() {
    let folder = Server::folder();
    let lab = machine(3_000);
    well(&lab, &folder, "run p.yaml");
    let hash = "ab".repeat(32);
    let stray = folder.path().join(format!("objects-v1/ab/{hash}.parquet"));
    fs::create_dir_all(stray.parent().expect("a folder")).expect("a folder");
    fs::copy(lab.artifact("p.yaml counts"), &stray).expect("a copy");
    let young = well(&lab, &folder, "gc --remote --yes");
    assert!(young.stderr.contains("1 unreferenced but younger") && stray.exists(), "{young:#?}");
    let told = well(&lab, &folder, "gc --remote --keep-days 0");
    assert!(told.stdout.contains(&hash) && stray.exists(), "{told:#?}");
    well(&lab, &folder, "gc --remote --keep-days 0 --yes");
    assert!(!stray.exists());
    assert_eq!(well(&machine(3_000), &folder, "pull p.yaml --json").code, 0, "all else is still there");
}

#[test]
fn what_is_wrong_with_the_block_is_said_with_its_place() {
    let block = "store: { remote: \"ftp://x\", push: sometimes, timeout: soon, pul: auto }\nstages:";
    let lab = Lab::with(&[("p.yaml", &PIPELINE.replace("stages:", block)), ("plays.csv", "who,item,at\na,b,1\n")]);
    let answer = lab.line("check p.yaml");
    assert_eq!(answer.code, 2, "{answer:#?}");
    let text = format!("{}{}", answer.stdout, answer.stderr);
    assert!(text.contains("p.yaml:2:") && text.contains("did you mean `pull`?"), "{text}");
    lab.edit("p.yaml", ", pul: auto", "");
    lab.edit("p.yaml", "push: sometimes, ", "");
    let answer = lab.line("check p.yaml");
    let text = format!("{}{}", answer.stdout, answer.stderr);
    assert!(text.contains("is an address of a sort that is not known"), "{text}");
    lab.edit("p.yaml", "ftp://x", "shared");
    let answer = lab.line("check p.yaml");
    let text = format!("{}{}", answer.stdout, answer.stderr);
    assert!(text.contains("`timeout`: `soon` is not a duration"), "{text}");
    lab.edit("p.yaml", "timeout: soon", "timeout: 5s");
    assert_eq!(lab.ran("p.yaml"), ALL);
    assert!(lab.path("shared/manifests-v1").is_dir(), "the block alone is enough");
    lab.edit("p.yaml", "timeout: 5s", "timeout: 6s, claims: false");
    assert!(lab.ran("p.yaml").is_empty(), "it decides no key");
}

/// Runs the pipeline on all machines at once, over one store: how often each
/// stage was made, and what was said.
fn at_once(labs: &[Lab], server: &Server) -> (BTreeMap<String, usize>, String) {
    // A machine that is busy with other tests is no store that cannot be reached.
    for lab in labs {
        lab.edit("p.yaml", "stages:\n", "store: { remote: unused, timeout: 2m }\nstages:\n");
    }
    let start = |lab| {
        let mut command = server.command(lab, "run p.yaml --json");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    let running: Vec<Child> = labs.iter().map(start).collect();
    let mut ran: BTreeMap<String, usize> = BTreeMap::new();
    let mut said = String::new();
    for process in running {
        let output = process.wait_with_output().expect("an end");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        said += &String::from_utf8_lossy(&output.stdout);
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            if event["event"] == "stage_finished" && event["outcome"] == "ran" {
                *ran.entry(event["stage"].as_str().expect("a stage").to_owned()).or_default() += 1;
            }
        }
    }
    assert!(files_below(&server.path().join("claims-v1"), "").is_empty(), "every claim was given back");
    (ran, said)
}

#[test]
fn two_machines_at_once_share_the_work() {
    let folder = Server::folder();
    let labs: Vec<Lab> = (0..2).map(|_| machine(30_000)).collect();
    let (ran, said) = at_once(&labs, &folder);
    let once: BTreeMap<String, usize> = ALL.iter().map(|stage| ((*stage).to_owned(), 1)).collect();
    assert_eq!(ran, once, "each was made once: {said}");
    well(&labs[0], &folder, "verify --remote");
}

#[test]
fn the_shards_of_a_stage_are_worked_on_once_by_two_machines_at_once() {
    let folder = Server::folder();
    let slow = format!("sleep 0.2\n{}", shards::COPY);
    let files = [("p.yaml", shards::OWN), ("songs.csv", &shards::songs(600)), ("copy.sh", &slow)];
    let labs: Vec<Lab> = (0..2).map(|_| Lab::with(&files)).collect();
    let (ran, said) = at_once(&labs, &folder);
    assert_eq!(ran, BTreeMap::from([("copied".to_owned(), 1), ("songs".to_owned(), 1)]), "{said}");
    let begun: Vec<usize> = labs.iter().map(shards::begun).collect();
    assert_eq!(begun.iter().sum::<usize>(), 6, "{begun:?}: {said}");
    let bytes = |lab| bytes_of(lab, &folder, "copied");
    assert_eq!(bytes(&labs[0]), bytes(&labs[1]));
}
