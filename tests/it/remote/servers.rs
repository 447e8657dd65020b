//! Servers that are not ours, from their packages. They are installed once into
//! a folder below the target folder; where that cannot be done, tests that need
//! them are skipped with a line.

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::lab::{self, Lab};

/// What installing may take.
const PATIENCE: Duration = Duration::from_mins(4);
/// What Azurite's one account is opened with; everybody knows it.
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// A secret that no file and no output may hold.
pub(super) const SECRET: &str = "a-secret-that-nobody-may-see";

/// A store that machines share, until it is dropped.
pub(super) struct Server {
    /// Its address for `--remote`.
    pub(super) address: String,
    variables: Vec<(&'static str, String)>,
    /// Where it listens, if it does.
    pub(super) port: Option<u16>,
    process: Option<Child>,
    folder: TempDir,
}

impl Server {
    /// A folder on a disk that all see.
    pub(super) fn folder() -> Self {
        let folder = TempDir::with_prefix("refrain-shared-").expect("a folder");
        let address = folder.path().join("lab").display().to_string();
        Self { address, variables: Vec::new(), port: None, process: None, folder }
    }

    /// Moto's S3; nothing if it cannot be had.
    pub(super) fn s3() -> Option<Self> {
        let python = python_packages()?;
        let (port, folder) = (free_port(), TempDir::with_prefix("refrain-moto-").expect("a folder"));
        let mut command = Command::new(python.join("bin/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = started(command, port)?;
        let made = http(port, "PUT /lab HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        assert!(made.contains(" 200 "), "moto makes a bucket: {made}");
        let variables = vec![
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
            ("AWS_ACCESS_KEY_ID", "lab".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ];
        let address = "s3://lab/below/here".to_owned();
        Some(Self { address, variables, port: Some(port), process: Some(process), folder })
    }

    /// Azurite's blobs; nothing if it cannot be had.
    pub(super) fn azure() -> Option<Self> {
        let npm = npm_packages()?;
        let (port, folder) = (free_port(), TempDir::with_prefix("refrain-azurite-").expect("a folder"));
        let mut command = Command::new(npm.join("node_modules/.bin/azurite-blob"));
        command.args(["--blobPort", &port.to_string(), "--silent", "--skipApiVersionCheck", "--location"]);
        command.arg(folder.path());
        let process = started(command, port)?;
        let made =
            Command::new("python3").args(["-c", MAKE_CONTAINER, &port.to_string(), AZURITE_KEY]).output().ok()?;
        assert!(made.status.success(), "Azurite makes a container: {}", String::from_utf8_lossy(&made.stderr));
        let variables = vec![
            ("AZURE_STORAGE_USE_EMULATOR", "true".to_owned()),
            ("AZURITE_BLOB_STORAGE_URL", format!("http://127.0.0.1:{port}")),
        ];
        let address = "az://lab/below".to_owned();
        Some(Self { address, variables, port: Some(port), process: Some(process), folder })
    }

    /// A web server over a folder, which can only be read.
    pub(super) fn http(over: &Path) -> Option<Self> {
        let (port, folder) = (free_port(), TempDir::with_prefix("refrain-http-").expect("a folder"));
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1", "--directory"]).arg(over);
        let process = started(command, port)?;
        let address = format!("http://127.0.0.1:{port}");
        Some(Self { address, variables: Vec::new(), port: Some(port), process: Some(process), folder })
    }

    /// All that can be written and that can be had here.
    pub(super) fn all() -> Vec<Self> {
        [Some(Self::folder()), Self::s3(), Self::azure()].into_iter().flatten().collect()
    }

    /// The same server, reached by way of another port.
    pub(super) fn by_way_of(&self, port: u16) -> Self {
        let own = self.port.expect("a server that listens");
        let other = |text: &str| text.replace(&format!(":{own}"), &format!(":{port}"));
        Self {
            address: other(&self.address),
            variables: self.variables.iter().map(|(name, value)| (*name, other(value))).collect(),
            port: Some(port),
            process: None,
            folder: TempDir::new().expect("a folder"),
        }
    }

    /// The binary with its words, on a machine that uses this server.
    pub(super) fn command(&self, lab: &Lab, line: &str) -> Command {
        let mut command = lab.command(line.split_whitespace());
        command.env("REFRAIN_REMOTE", &self.address).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The folder that a folder's files are in.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("lab")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

/// A signed request by which Azurite makes the container `lab`.
const MAKE_CONTAINER: &str = r#"
import base64, hashlib, hmac, sys, urllib.request
from email.utils import formatdate
port, key = sys.argv[1:]
date, account = formatdate(usegmt=True), "devstoreaccount1"
text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-08-06\n/{account}/{account}/lab\nrestype:container"
sign = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "Authorization": f"SharedKey {account}:{sign}"}
url = f"http://127.0.0.1:{port}/{account}/lab?restype=container"
class Put(urllib.request.Request):
    def get_method(self): return "PUT"
opener = urllib.request.build_opener()
request = Put(url, headers=headers)
request.add_unredirected_header("Content-Length", "0")
opener.open(request)
"#;

/// Says why there are no tests with a server.
fn skipped(what: &str, why: &str) {
    lab::skipped(&format!("nothing is tested with {what}: {why}"));
}

fn packages(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("shared-store-servers").join(name)
}

/// A folder of Python packages with moto.
fn python_packages() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = |folder: &Path| {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(folder);
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "moto[server]"]);
        vec![venv, pip]
    };
    FOUND.get_or_init(|| installed("moto", "python", "bin/moto_server", install)).clone()
}

/// A folder of Node's packages with Azurite.
fn npm_packages() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let install = |folder: &Path| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "azurite", "--prefix"]).arg(folder);
        vec![npm]
    };
    FOUND.get_or_init(|| installed("Azurite", "npm", "node_modules/.bin/azurite-blob", install)).clone()
}

fn installed(what: &str, name: &str, program: &str, install: impl Fn(&Path) -> Vec<Command>) -> Option<PathBuf> {
    let folder = packages(name);
    fs::create_dir_all(&folder).ok()?;
    // Other test processes may be installing the same.
    let lock = File::create(folder.with_extension("lock")).ok()?;
    lock.lock().ok()?;
    let done = folder.join("installed");
    if done.exists() && folder.join(program).exists() {
        return Some(folder);
    }
    let until = Instant::now() + PATIENCE;
    for mut command in install(&folder) {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut process) = command.spawn() else {
            skipped(what, "its installer is not here");
            return None;
        };
        loop {
            match process.try_wait() {
                Ok(Some(status)) if status.success() => break,
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(100)),
                _ => {
                    process.kill().ok();
                    process.wait().ok();
                    skipped(what, "it could not be installed");
                    return None;
                }
            }
        }
    }
    File::create(done).ok()?;
    Some(folder)
}

/// A server once it listens; nothing if it does not.
fn started(mut command: Command, port: u16) -> Option<Child> {
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let until = Instant::now() + Duration::from_mins(1);
    while Instant::now() < until && process.try_wait().is_ok_and(|ended| ended.is_none()) {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(process);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    process.kill().ok();
    process.wait().ok();
    skipped(&format!("{command:?}"), "it does not listen");
    None
}

/// A port that nobody listens on.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn http(port: u16, request: &str) -> String {
    use std::io::Read;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
