//! The shared store when the network fails, when it is not there, and when
//! machines are killed while they use it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::proxy::{Manner, Proxy, draw};
use super::servers::{Server, free_port};
use super::{ALL, artifacts, bytes_of, machine, on, well};

#[test]
fn results_come_whole_through_a_network_that_fails() {
    let Some(server) = Server::s3() else { return };
    let port = server.port.expect("a port");
    let first = machine(150_000);
    for seed in 0..3 {
        let proxy = Proxy::before(port, Manner::Faulty, seed * 1_000);
        let faulty = server.by_way_of(proxy.port);
        // What cannot be sent is told, and never fails the run.
        well(&first, &faulty, "run p.yaml");
    }
    well(&first, &server, "push p.yaml");
    well(&first, &server, "verify --remote");
    for seed in 3..6 {
        let proxy = Proxy::before(port, Manner::Faulty, seed * 1_000);
        let second = machine(150_000);
        on(&second, &server.by_way_of(proxy.port), "pull p.yaml");
        assert!(proxy.connections() > 0);
        well(&second, &server, "verify");
        // What did not come is fetched when the network is well again.
        well(&second, &server, "pull p.yaml");
        for stage in ALL {
            assert_eq!(bytes_of(&second, &server, stage), bytes_of(&first, &server, stage));
        }
    }
}

#[test]
fn a_store_that_does_not_answer_costs_its_timeout_once_and_loses_nothing() {
    let Some(server) = Server::s3() else { return };
    let proxy = Proxy::before(server.port.expect("a port"), Manner::Silent, 0);
    let silent = server.by_way_of(proxy.port);
    let lab = machine(1_000);
    lab.edit("p.yaml", "stages:\n", "store: { remote: s3://lab/below/here, timeout: 2s }\nstages:\n");
    let started = Instant::now();
    let answer = well(&lab, &silent, "run p.yaml --json");
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    assert_eq!(answer.outcomes(&["ran"]), ALL);
    let told = answer.stdout.matches("cannot be used").count();
    assert_eq!(told, 1, "said once: {answer:#?}");
    assert!(answer.stdout.contains("not sent"), "{answer:#?}");
    // The next run that reaches it sends what is not there.
    let sent = well(&lab, &server, "run p.yaml --json");
    assert_eq!(sent.outcomes(&["cached"]), ALL);
    assert!(sent.stdout.contains("\"pushed\":5"), "{sent:#?}");
    let other = machine(1_000);
    assert_eq!(well(&other, &server, "run p.yaml --json").outcomes(&["pulled"]), ALL);
}

#[test]
fn a_store_that_is_not_there_is_no_reason_not_to_run() {
    let folder = Server::folder();
    let (lab, far) = (machine(1_000), machine(1_000));
    let missing = folder.path().join("not/mounted");
    let answer = lab.line(&format!("run p.yaml --remote {}", missing.display()));
    assert!(answer.code == 0 && answer.stderr.contains("going on without it"), "{answer:#?}");
    assert!(!missing.exists());
    let refused = lab.line(&format!("push p.yaml --remote {}", missing.display()));
    assert_eq!(refused.code, 1, "{refused:#?}");
    // What is only there is made here while it cannot be reached.
    well(&lab, &folder, "push p.yaml");
    assert_eq!(well(&far, &folder, "run p.yaml --json").outcomes(&["pulled"]), ALL);
    far.edit("p.yaml", "plays > 1", "plays > 3");
    let port = free_port();
    let gone = far
        .command(["run", "p.yaml", "--json", "--remote", "s3://lab/x"])
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .env("AWS_ACCESS_KEY_ID", "lab")
        .env("AWS_SECRET_ACCESS_KEY", "lab")
        .output()
        .expect("it starts");
    assert!(gone.status.success(), "{}", String::from_utf8_lossy(&gone.stderr));
}

#[test]
fn a_run_of_which_all_is_here_asks_nothing() {
    let Some(server) = Server::s3() else { return };
    let proxy = Proxy::before(server.port.expect("a port"), Manner::Honest, 0);
    let watched = server.by_way_of(proxy.port);
    let (first, second) = (machine(1_000), machine(1_000));
    well(&first, &watched, "run p.yaml");
    well(&second, &watched, "run p.yaml");
    let before = proxy.connections();
    for lab in [&first, &second] {
        // With `--json` no table is shown, for which it would be fetched.
        assert_eq!(well(lab, &watched, "run p.yaml --json").outcomes(&["cached"]), ALL);
    }
    assert_eq!(proxy.connections(), before, "not even a connection");
}

#[test]
fn machines_that_are_killed_while_they_push_or_pull_leave_nothing_half_done() {
    let Some(server) = Server::s3() else { return };
    let proxy = Proxy::before(server.port.expect("a port"), Manner::Slow, 0);
    let slow = server.by_way_of(proxy.port);
    let (first, second) = (machine(150_000), machine(150_000));
    assert_eq!(first.line("run p.yaml --remote none").code, 0);
    for (lab, line) in [(&first, "push p.yaml"), (&second, "pull p.yaml"), (&second, "run p.yaml")] {
        for turn in 0..5 {
            let mut command = slow.command(lab, line);
            let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
            std::thread::sleep(Duration::from_millis(50 + draw(turn, 500)));
            process.kill().ok();
            process.wait().ok();
            let verified = on(lab, &server, "verify --remote");
            assert_eq!(verified.code, 0, "{line}: {verified:#?}");
            well(lab, &server, "verify");
        }
        well(lab, &server, line);
    }
    assert_eq!(artifacts(&second).len(), artifacts(&first).len());
    for stage in ALL {
        assert_eq!(bytes_of(&second, &server, stage), bytes_of(&first, &server, stage));
    }
}

#[test]
fn a_claim_whose_run_was_killed_is_taken_over() {
    let folder = Server::folder();
    let block = "store: { remote: none-yet, claims_expire: 2s }\nstages:\n";
    let (lab, other) = (machine(1_000), machine(1_000));
    lab.edit("p.yaml", "stages:\n", block);
    other.edit("p.yaml", "stages:\n", block);
    // The key of a stage, as a plan tells it.
    let plan = well(&lab, &folder, "plan p.yaml --json");
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("JSON");
    let key = plan["stages"][0]["key"].as_str().expect("a key").to_owned();
    let claim = folder.path().join(format!("claims-v1/{key}.json"));
    let text = r#"{"run":"somebody","store":"elsewhere","expires_seconds":2,"at_millis":99999999999999,"beat":3}"#;
    std::fs::create_dir_all(claim.parent().expect("a folder")).expect("a folder");
    lab.write("claim", text);
    std::fs::copy(lab.path("claim"), &claim).expect("a copy");
    let answer = well(&lab, &folder, "run p.yaml --json");
    assert_eq!(answer.outcomes(&["ran"]), ALL, "whatever its clock said");
    assert!(!claim.exists(), "and it was given back");
}
