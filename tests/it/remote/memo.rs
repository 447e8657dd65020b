//! Answers that one machine was given, another does not ask for.

use super::servers::Server;
use super::well;
use crate::lab::{Lab, Sandbox, files_below};

const CRAWL: &str = "\
pipeline: crawl
stages:
  users:
    kind: crawl_users
    with: { max_users: 40 }
  loved:
    kind: crawl_loved_tracks
    inputs: { users: users }
    with: { per_user: 50, min_per_user: 1 }
";

#[test]
fn answers_are_shared_and_names_are_not() {
    for server in Server::all() {
        let labs: Vec<Lab> = (0..2).map(|_| Lab::with(&[("p.yaml", CRAWL)])).collect();
        let sandbox = Sandbox::start(&labs[0], "--seed 1 --users 40 --songs 60");
        let asked = || sandbox.stats()["total"].clone();
        let run = format!("run p.yaml --json --sandbox={}", sandbox.url);
        well(&labs[0], &server, &run);
        let before = asked();
        // Another question about the same people: its key is another, its answers are there.
        labs[1].edit("p.yaml", "min_per_user: 1", "min_per_user: 2");
        let answer = well(&labs[1], &server, &run);
        let ran = answer.outcomes(&["ran"]);
        assert!(ran.contains(&"loved".to_owned()), "{ran:?}");
        assert_eq!(answer.finished()["requests"], 0, "{}: {answer:#?}", server.address);
        assert_eq!(asked(), before, "{}", server.address);
        well(&labs[1], &server, "verify");
        if server.port.is_none() {
            let names: Vec<_> = files_below(&server.path(), "").into_iter().collect();
            assert!(names.iter().all(|path| !path.to_string_lossy().contains("people-v1")), "{names:?}");
            assert!(names.iter().any(|path| path.to_string_lossy().contains("memo-v1/http")), "{names:?}");
        }
    }
}
