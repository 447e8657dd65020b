//! A real slurmctld and slurmd from Debian's packages, unpacked into a folder
//! below the target folder and run there without systemd or munge.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::skipped;

const PACKAGES: [&str; 4] = ["slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins"];

/// A cluster of one node with two processors and one GPU, which is none.
pub(super) struct Cluster {
    folder: tempfile::TempDir,
    packages: PathBuf,
    processes: Vec<Child>,
}

impl Cluster {
    /// Starts one; none, with the reason printed, where that cannot be.
    pub(super) fn start() -> Option<Self> {
        match unpacked().and_then(|packages| Self::start_from(&packages)) {
            Ok(cluster) => Some(cluster),
            Err(why) => {
                skipped(&format!("there is no Slurm here: {why}"));
                None
            }
        }
    }

    fn start_from(packages: &Path) -> Result<Self, String> {
        let folder = tempfile::TempDir::with_prefix("refrain-slurm-").map_err(|error| error.to_string())?;
        let mut cluster = Self { folder, packages: packages.to_owned(), processes: Vec::new() };
        cluster.prepare().map_err(|error| error.to_string())?;
        let host = host()?;
        cluster.daemon("slurmctld", &["-D", "-c"])?;
        cluster.wait_for("slurmctld", |cluster| cluster.ask("scontrol", &["ping"]).contains("is UP"))?;
        let stepd = cluster.path("bin/slurmstepd");
        cluster.daemon("slurmd", &["-D", "-N", &host, "-d", &stepd.display().to_string()])?;
        cluster.wait_for("slurmd", |cluster| cluster.ask("sinfo", &["-h", "-o", "%T"]).trim() == "idle")?;
        Ok(cluster)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[expect(clippy::disallowed_methods, reason = "nobody reads them while they are written")]
    fn prepare(&self) -> std::io::Result<()> {
        for name in ["bin", "state", "spool"] {
            fs::create_dir(self.path(name))?;
        }
        // Under their own names they read no gres.conf.
        for name in ["slurmctld", "slurmd", "slurmstepd"] {
            symlink(self.packages.join(format!("usr/sbin/{name}-wlm")), self.path("bin").join(name))?;
        }
        let gpu = self.path("gpu");
        let made = Command::new("mknod").arg(&gpu).args(["c", "1", "3"]).stderr(Stdio::null()).status();
        if !made.is_ok_and(|made| made.success()) {
            symlink("/dev/null", &gpu)?;
        }
        let host = host().map_err(std::io::Error::other)?;
        let [controller, node] = free_ports()?;
        let folder = self.folder.path().display();
        let plugins = plugins(&self.packages).display().to_string();
        let user = Command::new("id").arg("-un").output()?.stdout;
        let user = String::from_utf8_lossy(&user).trim().to_owned();
        let text = format!(
            "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={controller}\nSlurmdPort={node}\n\
             SlurmUser={user}\nSlurmdUser={user}\nAuthType=auth/none\nCredType=cred/none\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSelectType=select/cons_tres\n\
             SelectTypeParameters=CR_CPU\nAccountingStorageType=accounting_storage/none\n\
             JobAcctGatherType=jobacct_gather/none\nMpiDefault=none\nSwitchType=switch/none\nReturnToService=2\n\
             PluginDir={plugins}\nStateSaveLocation={folder}/state\nSlurmdSpoolDir={folder}/spool\n\
             SlurmctldPidFile={folder}/slurmctld.pid\nSlurmdPidFile={folder}/slurmd.pid\n\
             SlurmctldLogFile={folder}/slurmctld.log\nSlurmdLogFile={folder}/slurmd.log\n\
             SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=100000\n\
             KillWait=5\nMinJobAge=60\nGresTypes=gpu\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 Gres=gpu:1 State=UNKNOWN\n\
             PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP\n"
        );
        fs::write(self.path("slurm.conf"), text)?;
        fs::write(self.path("gres.conf"), format!("NodeName={host} Name=gpu File={}\n", gpu.display()))
    }

    fn daemon(&mut self, name: &str, words: &[&str]) -> Result<(), String> {
        let log = fs::File::create(self.path(&format!("{name}.out"))).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let mut command = Command::new(self.path("bin").join(name));
        command.args(words).envs(self.environment()).stdin(Stdio::null()).stdout(log).stderr(errors);
        self.processes.push(command.spawn().map_err(|error| format!("{name} cannot be started: {error}"))?);
        Ok(())
    }

    fn wait_for(&self, name: &str, is_up: impl Fn(&Self) -> bool) -> Result<(), String> {
        let started = Instant::now();
        while !is_up(self) {
            if started.elapsed() > Duration::from_mins(1) {
                let read = |file: String| fs::read_to_string(self.path(&file)).unwrap_or_default();
                return Err(format!(
                    "{name} does not come up: {}{}",
                    read(format!("{name}.out")),
                    read(format!("{name}.log"))
                ));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// What a command of the cluster prints.
    pub(super) fn ask(&self, command: &str, words: &[&str]) -> String {
        let program = self.packages.join("usr/bin").join(command);
        let output = Command::new(program).args(words).envs(self.environment()).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }

    /// What the cluster's commands need to be found and to find it.
    pub(super) fn environment(&self) -> BTreeMap<String, OsString> {
        let mut path = self.packages.join("usr/bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let plugins = plugins(&self.packages);
        let mut libraries = plugins.parent().unwrap_or(&plugins).as_os_str().to_owned();
        libraries.push(":");
        libraries.push(&plugins);
        BTreeMap::from([
            ("PATH".to_owned(), path),
            ("LD_LIBRARY_PATH".to_owned(), libraries),
            ("SLURM_CONF".to_owned(), self.path("slurm.conf").into_os_string()),
        ])
    }

    /// The node fails, or comes back.
    pub(super) fn set_node(&self, state: &str) {
        let name = format!("nodename={}", host().unwrap_or_default());
        self.ask("scontrol", &["update", &name, &format!("state={state}"), "reason=test"]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.ask("scancel", &["--me"]);
        for process in self.processes.iter_mut().rev() {
            let asked = Command::new("kill").arg(process.id().to_string()).status();
            if !asked.is_ok_and(|asked| asked.success()) {
                process.kill().ok();
            }
            process.wait().ok();
        }
    }
}

fn host() -> Result<String, String> {
    let output = Command::new("hostname").arg("-s").output().map_err(|error| format!("`hostname`: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn free_ports() -> std::io::Result<[u16; 2]> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}

fn plugins(packages: &Path) -> PathBuf {
    let libraries = packages.join("usr/lib");
    let found = fs::read_dir(&libraries).into_iter().flatten().flatten().map(|entry| entry.path().join("slurm-wlm"));
    found.into_iter().find(|path| path.is_dir()).unwrap_or(libraries)
}

/// The packages, unpacked; they stay for the next time.
fn unpacked() -> Result<PathBuf, String> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("slurm-packages");
    if kept.is_dir() {
        return Ok(kept);
    }
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
    let run = |command: &str, words: &[&str]| {
        let output = Command::new(command).args(words).current_dir(folder.path()).output();
        let output = output.map_err(|error| format!("`{command}`: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(format!("`{command} {}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr)))
        }
    };
    // With what they need and is not here. Where nobody has fetched the lists of packages, they come here.
    let simulate = |options: &[&str]| {
        let words = ["install", "--simulate", "--no-install-recommends"];
        run("apt-get", &[options, &words, &PACKAGES].concat())
    };
    let own = ["lists/partial", "cache/archives/partial"].map(|name| folder.path().join(name));
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (lists, cache) = (format!("Dir::State::Lists={}", place("lists")), format!("Dir::Cache={}", place("cache")));
    let mut options: Vec<&str> = Vec::new();
    let mut simulated = simulate(&options);
    if simulated.is_err() {
        own.iter().try_for_each(fs::create_dir_all).map_err(|error| error.to_string())?;
        options = vec!["-o", &lists, "-o", &cache, "-o", "Acquire::http::Timeout=20"];
        run("apt-get", &[&options[..], &["update"]].concat())?;
        simulated = simulate(&options);
    }
    let simulated = simulated?;
    let needed = simulated.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next());
    let mut packages: Vec<&str> = needed.chain(PACKAGES).collect();
    packages.sort_unstable();
    packages.dedup();
    run("apt-get", &[&options[..], &["download"], &packages].concat())?;
    let unpacked = folder.path().join("unpacked");
    for entry in fs::read_dir(folder.path()).map_err(|error| error.to_string())?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == "deb") {
            run("dpkg", &["-x", &path.display().to_string(), &unpacked.display().to_string()])?;
        }
    }
    // Another process may have been first.
    if fs::rename(&unpacked, &kept).is_err() && !kept.is_dir() {
        return Err(format!("could not keep the packages in `{}`", kept.display()));
    }
    Ok(kept)
}
