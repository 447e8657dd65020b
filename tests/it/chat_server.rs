//! A real OpenAI-compatible server that is not ours: llama.cpp's, with a tiny
//! model of random weights that `scripts/chat_server.py` makes on the spot.
//! Skipped, with a line, where its Python packages are not installed:
//! `REFRAIN_CHAT_SERVER_PYTHON` names a Python that has them, else `python3`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::lab::{Lab, ok, skipped};

const PIPELINE: &str = r#"
pipeline: real
limiters:
  tiny: { concurrency: 2 }
providers:
  tiny: { base_url: "${env.TINY_URL}", api_key: "", model: tiny, limiter: tiny, max_failed_rows: 0.5 }
stages:
  songs: { kind: read_table, with: { path: songs.csv } }
  summaries:
    kind: summarize
    inputs: { items: songs }
    with: { provider: tiny, max_tokens: 12, seed: 1, extra: { top_k: 1 }, prompt: "Sing {{ text }}" }
  vectors:
    kind: embed_remote
    inputs: { texts: songs }
    with: { provider: tiny, batch_texts: 3 }
"#;

/// The server, until it is dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    /// Starts it; nothing if it is not installed.
    fn start(lab: &Lab) -> Option<Self> {
        let chosen = std::env::var_os("REFRAIN_CHAT_SERVER_PYTHON");
        let python = chosen.clone().unwrap_or_else(|| "python3".into());
        let can = Command::new(&python).args(["-c", "import xllamacpp, gguf"]).output();
        if !can.is_ok_and(|output| output.status.success()) {
            assert!(chosen.is_none(), "the Python that REFRAIN_CHAT_SERVER_PYTHON names lacks xllamacpp or gguf");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/chat_server.py");
        let mut command = Command::new(python);
        command.arg(script).arg(lab.path(".")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("Python starts");
        let mut url = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut url).expect("a line");
        let url = url.trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "the server said `{url}`");
        Some(Self { process, url })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A run with `--json`, which must succeed: its last event.
fn run(lab: &Lab, server: &Server, line: &str) -> Value {
    let mut command = lab.command(format!("run real.yaml --json {line}").split_whitespace());
    let output = command.env("TINY_URL", &server.url).output().expect("the binary starts");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{stdout} {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(stdout.lines().last().expect("an event")).expect("JSON")
}

fn rows(lab: &Lab, stage: &str) -> Vec<Value> {
    let shown: Value =
        serde_json::from_str(&ok(lab.line(&format!("show real.yaml {stage} --rows 9 --json")))).expect("JSON");
    shown["first_rows"].as_array().expect("rows").clone()
}

#[test]
fn a_server_that_is_not_ours_summarizes_and_embeds() {
    let long = "x".repeat(2000);
    let songs = format!("item_id,text\ni1,rain\ni2,\ni3,{long}\ni4,sun\ni5,rain\n");
    let lab = Lab::with(&[("real.yaml", PIPELINE), ("songs.csv", &songs)]);
    let Some(server) = Server::start(&lab) else {
        return skipped("python3 has no xllamacpp and gguf; scripts/chat_server.py says how to get them");
    };
    run(&lab, &server, "");

    let summaries = rows(&lab, "summaries");
    let states: Vec<&str> = summaries.iter().map(|row| row["status"].as_str().expect("a status")).collect();
    assert_eq!((states[0], states[1], states[3], states[4]), ("ok", "skipped: no text", "ok", "ok"), "{summaries:?}");
    assert!(states[2].starts_with("failed: HTTP 400: ") && states[2].contains("context size"), "{}", states[2]);
    assert!(
        summaries[0]["prompt_tokens"].as_u64() > Some(10) && summaries[0]["completion_tokens"] == 12,
        "{summaries:?}"
    );
    assert_eq!((&summaries[0]["finish_reason"], &summaries[0]["text"]), (&"length".into(), &summaries[4]["text"]));

    let vectors: Vec<Vec<f64>> = rows(&lab, "vectors")
        .iter()
        .map(|row| row["vector"].as_array().expect("a vector").iter().filter_map(Value::as_f64).collect())
        .collect();
    assert!(vectors.iter().all(|vector| vector.len() == 64), "the model is 64 wide");
    let length = |row: usize| vectors[row].iter().map(|number| number * number).sum::<f64>();
    assert!([0, 3, 4].iter().all(|row| (length(*row) - 1.0).abs() < 1e-5), "scaled to length 1");
    assert_eq!((length(1), length(2)), (0.0, 0.0), "missing, and too long for the model");
    assert_eq!(vectors[0], vectors[4]);
    assert_ne!(vectors[0], vectors[3]);

    // Another song is asked about, and no other.
    lab.write("songs.csv", &songs.replace(&long, "wind"));
    assert_eq!(run(&lab, &server, "")["requests"], 2);
    assert_eq!(run(&lab, &server, "")["requests"], 0);
    // The key of a model that has none, an address at which nothing is: said at once.
    lab.edit("real.yaml", "${env.TINY_URL}", "${env.TINY_URL}/nowhere");
    let mut command = lab.command("run real.yaml".split_whitespace());
    let output = command.env("TINY_URL", &server.url).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("check `base_url:`"), "{said}");
}
