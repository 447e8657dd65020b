//! A headless Chromium that looks at pages as a person's browser does: it is
//! spoken to in the Chrome `DevTools` Protocol over two pipes. Tests that need
//! one are skipped, with a line, where none is installed.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::skipped;

/// What it may be called.
const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
/// How long an answer, or what a test waits for, may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// The size of the window, unless a screenshot asks for another.
const SIZE: (u32, u32) = (1280, 900);

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    session: Option<String>,
    errors: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; none, and a line that says so, where there is none to start.
    pub(crate) fn start() -> Option<Self> {
        let is_there = |name: &&&str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
        };
        let Some(name) = NAMES.iter().find(is_there) else {
            skipped(&format!("none of {} is on the PATH, so no page is looked at in a browser", NAMES.join(", ")));
            return None;
        };
        let profile = TempDir::with_prefix("refrain-browser-").expect("a temporary folder");
        // It reads commands from descriptor 3 and answers on descriptor 4.
        let line = format!(
            "exec {name} --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
             --disable-background-networking --disable-component-update --hide-scrollbars \
             --remote-debugging-pipe --user-data-dir='{}' about:blank 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null",
            profile.path().display()
        );
        let mut process = Command::new("sh")
            .args(["-c", &line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let commands = process.stdin.take().expect("a pipe");
        let mut answers = BufReader::new(process.stdout.take().expect("a pipe"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            while answers.read_until(0, &mut bytes).is_ok_and(|length| length > 0) {
                let message = serde_json::from_slice(bytes.strip_suffix(&[0]).unwrap_or(&bytes));
                bytes.clear();
                if message.is_ok_and(|message| sender.send(message).is_err()) {
                    break;
                }
            }
        });
        let mut browser =
            Self { process, commands, messages, last: 0, session: None, errors: Vec::new(), _profile: profile };
        browser.attach();
        Some(browser)
    }

    /// Takes the one page that there is.
    fn attach(&mut self) {
        let page = self.call("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = self.call("Target.attachToTarget", &json!({"targetId": page, "flatten": true}));
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
        self.look(SIZE.0, SIZE.1, false);
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|why| panic!("{method} {parameters}: {why}"))
    }

    fn try_call(&mut self, method: &str, parameters: &Value) -> Result<Value, String> {
        self.last += 1;
        let id = self.last;
        let mut command = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).map_err(|error| error.to_string())?;
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left).map_err(|error| format!("no answer: {error}"))?;
            if message["id"] != id {
                self.note(&message);
            } else if message["error"].is_null() {
                return Ok(message["result"].clone());
            } else {
                return Err(message["error"].to_string());
            }
        }
    }

    /// An event: what a person would see in the console, and that the page is there.
    fn note(&mut self, message: &Value) {
        let told = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => self.errors.push(told["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if told["type"] == "error" => self.errors.push(told["args"].to_string()),
            "Log.entryAdded" if told["entry"]["level"] == "error" => {
                self.errors.push(format!("{} {}", told["entry"]["text"], told["entry"]["url"]));
            }
            _ => {}
        }
    }

    /// Goes to an address and waits until the page is loaded. That a page was
    /// loaded may be told of the one before: each has its own time of origin.
    pub(crate) fn open(&mut self, url: &str) {
        let before = self.try_evaluate("performance.timeOrigin").unwrap_or_default();
        let answer = self.call("Page.navigate", &json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.wait_for(&format!("performance.timeOrigin != {before} && document.readyState == 'complete'"));
    }

    /// The value of an expression in the page.
    pub(crate) fn evaluate(&mut self, script: &str) -> Value {
        self.try_evaluate(script).unwrap_or_else(|why| panic!("`{script}`: {why}"))
    }

    fn try_evaluate(&mut self, script: &str) -> Result<Value, String> {
        let parameters = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let answer = self.try_call("Runtime.evaluate", &parameters)?;
        match answer.get("exceptionDetails") {
            None => Ok(answer["result"]["value"].clone()),
            Some(thrown) => Err(thrown.to_string()),
        }
    }

    /// Waits until an expression is true. While a page is left for another none is.
    pub(crate) fn wait_for(&mut self, script: &str) {
        let until = Instant::now() + PATIENCE;
        while self.try_evaluate(&format!("Boolean({script})")) != Ok(Value::Bool(true)) {
            if Instant::now() > until {
                let shown = self.try_evaluate("location.href + '\\n' + document.body.innerText");
                panic!("`{script}` did not become true; the page is {shown:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Clicks in the middle of the first element that the selector names.
    pub(crate) fn click(&mut self, selector: &str) {
        let name = json!(selector);
        let place = self.evaluate(&format!(
            "(() => {{ const element = document.querySelector({name}); if (!element) return null; \
             element.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}}); \
             const box = element.getBoundingClientRect(); \
             return {{x: box.x + box.width / 2, y: box.y + box.height / 2}}; }})()"
        ));
        assert!(place.is_object(), "nothing on the page is `{selector}`");
        for kind in ["mousePressed", "mouseReleased"] {
            let mouse = json!({"type": kind, "x": place["x"], "y": place["y"], "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &mouse);
        }
    }

    /// Presses a key: `Tab` or `Enter`.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = if key == "Enter" { (13, "\r") } else { (9, "") };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// Shows the page so wide and high, light or dark.
    fn look(&mut self, width: u32, height: u32, dark: bool) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &media);
    }

    /// Writes the whole page as a PNG, as it looks in a window so wide.
    #[expect(clippy::disallowed_methods, reason = "nobody reads it while it is written")]
    pub(crate) fn screenshot(&mut self, path: &Path, width: u32, dark: bool) {
        self.look(width, SIZE.1, dark);
        let size = self.call("Page.getLayoutMetrics", &json!({}))["cssContentSize"].clone();
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let shot = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let answer = self.call("Page.captureScreenshot", &shot);
        let bytes = base64::engine::general_purpose::STANDARD.decode(answer["data"].as_str().expect("a picture"));
        std::fs::write(path, bytes.expect("base64")).expect("a file");
        self.look(SIZE.0, SIZE.1, false);
    }

    /// How much wider than a window of that width the page is, in pixels.
    pub(crate) fn overflow(&mut self, width: u32) -> i64 {
        self.look(width, SIZE.1, false);
        let wide = self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        self.look(SIZE.0, SIZE.1, false);
        wide.as_i64().expect("a number")
    }

    /// What stands in the console as an error since the last call.
    pub(crate) fn console_errors(&mut self) -> Vec<String> {
        // Whatever the page has said by now comes before this answer.
        self.evaluate("0");
        std::mem::take(&mut self.errors)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
