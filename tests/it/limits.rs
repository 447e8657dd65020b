//! Limiters against the sandbox's servers, which count strictly: nearly all of
//! what they allow is used, and nothing is refused. Client and server go by one
//! clock, which moves on when everybody waits: minutes and days take no time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use refrain::ground::Clock;
use refrain::sandbox::{Sandbox, SandboxSettings, ServerLimits};
use refrain::web::chat::{Chat, ChatRequest};
use refrain::web::lastfm::Lastfm;
use refrain::web::{Call, Client, ClientSettings, Endpoints, LimiterSettings, ManualTimer, OnWarning, Secret, Timer};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::lab::Lab;

/// Time that moves on to the first sleeper's end when no request is under way.
#[derive(Debug, Default)]
struct StillTime {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    now: Duration,
    sleepers: Vec<(Duration, oneshot::Sender<()>)>,
    clients: Vec<Client>,
    answered: u64,
}

impl StillTime {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut inner);
        let sent: u64 = inner.clients.iter().map(Client::requests).sum();
        if let (true, Some(until)) = (sent == inner.answered, inner.sleepers.iter().map(|(until, _)| *until).min()) {
            inner.now = inner.now.max(until);
            let now = inner.now;
            let (due, rest): (Vec<_>, _) = inner.sleepers.drain(..).partition(|(until, _)| *until <= now);
            inner.sleepers = rest;
            for (_, wake) in due {
                // Who sleeps no more needs no waking.
                wake.send(()).unwrap_or_default();
            }
        }
        result
    }
}

impl Timer for StillTime {
    fn now(&self) -> Duration {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).now
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        let (wake, woken) = oneshot::channel();
        self.with(|inner| inner.sleepers.push((inner.now + wait, wake)));
        Box::pin(async move { woken.await.unwrap_or_default() })
    }
}

/// The same time as the server sees it.
#[derive(Debug)]
struct ServerClock(Arc<StillTime>);

impl Clock for ServerClock {
    fn now_millis(&self) -> u64 {
        1_700_000_000_000 + self.0.now().as_millis() as u64
    }
}

/// A client as one process has it.
fn process(time: &Arc<StillTime>, sandbox: &Sandbox, folder: &Path, limits: &LimiterSettings) -> Client {
    let names = ["lastfm", "chat"].map(str::to_owned);
    let client = Client::new(ClientSettings {
        endpoints: Endpoints::sandbox(&sandbox.url(), sandbox.identity()).paced(&names),
        limiters: names.into_iter().map(|name| (name, limits.clone())).collect(),
        limiters_folder: Some(folder.to_owned()),
        timer: Arc::<StillTime>::clone(time),
        ..ClientSettings::default()
    });
    client.expect("good settings")
}

/// What a crawl came to.
struct Crawl {
    seconds: f64,
    tokens: u64,
    stats: Value,
}

/// `processes` of two stages each ask until `count` calls altogether are answered.
async fn crawl(
    allowed: ServerLimits,
    limits: LimiterSettings,
    processes: usize,
    count: usize,
    call: fn(usize) -> Call,
) -> Crawl {
    let time: Arc<StillTime> = Arc::default();
    let settings = SandboxSettings {
        users: 20,
        songs: Some(40),
        limits: BTreeMap::from([("lastfm".to_owned(), allowed.clone()), ("chat".to_owned(), allowed)]),
        ..SandboxSettings::default()
    };
    let clock = Arc::new(ServerClock(Arc::clone(&time)));
    let sandbox = Sandbox::start_with_clock(&settings, clock).await.expect("a port");
    let folder = tempfile::tempdir().expect("a folder");
    let clients: Vec<Client> = (0..processes).map(|_| process(&time, &sandbox, folder.path(), &limits)).collect();
    time.with(|inner| inner.clients.clone_from(&clients));
    let sessions: Vec<_> =
        clients.iter().flat_map(|client| [(); 2].map(|()| client.session(None, CancellationToken::new()))).collect();
    let next = Mutex::new(0..count);
    let stage = async |session: &refrain::web::Session| {
        let numbers = std::iter::from_fn(|| next.lock().expect("a count").next());
        let asks = futures::stream::iter(numbers).map(|number| {
            let time = &time;
            async move {
                session.ask(&call(number)).await.expect("an answer");
                time.with(|inner| inner.answered += 1);
            }
        });
        asks.buffer_unordered(3).collect::<Vec<()>>().await;
    };
    futures::future::join_all(sessions.iter().map(stage)).await;
    let stats = stats(&sandbox.url()).await;
    sandbox.stop().await;
    let tokens = sessions.iter().map(|session| session.spent().tokens()).sum();
    Crawl { seconds: time.now().as_secs_f64(), tokens, stats }
}

async fn stats(url: &str) -> Value {
    let endpoint = refrain::web::Endpoint { base_url: url.to_owned(), identity: "sandbox".into(), paced: false };
    let endpoints = Endpoints::sandbox(url, "sandbox").with("sandbox", endpoint);
    let client = Client::new(ClientSettings { endpoints, ..ClientSettings::default() }).expect("good settings");
    let call = Call::new("sandbox", "/__stats", |_| refrain::web::Verdict::Keep);
    let session = client.session(None, CancellationToken::new());
    session.ask(&call).await.expect("an answer").json().expect("stats are JSON")
}

fn profile(number: usize) -> Call {
    Lastfm::new(Secret::new("none"), "lastfm").user(&format!("user-{number}"))
}

/// A prompt of about 60 tokens, with its answer.
fn prompt(number: usize) -> Call {
    let chat = Chat { base_url: String::new(), key: None, limiter: "chat".to_owned(), price: None };
    chat.complete(&ChatRequest {
        model: "any".to_owned(),
        prompt: format!("Summarise in 12 words, song {number}: {}", "whiskey on the barstool, ".repeat(4)),
        temperature: Some(0.0),
        max_tokens: Some(32),
        ..ChatRequest::default()
    })
}

#[tokio::test]
async fn two_processes_of_two_stages_use_a_rate_and_no_more() {
    let rate = 600.0;
    let allowed = ServerLimits { per_minute: Some(rate), ..ServerLimits::default() };
    let limits = LimiterSettings { per_minute: Some(rate), ..LimiterSettings::default() };
    let run = crawl(allowed, limits, 2, 1500, profile).await;
    assert_eq!((&run.stats["total"]["received"], &run.stats["total"]["limited"]), (&1500.into(), &0.into()));
    let millis = |name: &str| run.stats["total"][name].as_f64().expect("a time");
    let share = 1499.0 / ((millis("last_millis") - millis("first_millis")) / 60_000.0 * rate);
    assert!((0.98..=1.0).contains(&share), "{share} of what is allowed was used");
}

#[tokio::test]
async fn tokens_are_used_to_the_last_hundred_and_no_more() {
    let most = 6000.0;
    let allowed = ServerLimits { tokens_per_minute: Some(most), ..ServerLimits::default() };
    let limits = LimiterSettings { tokens_per_minute: Some(most), ..LimiterSettings::default() };
    let run = crawl(allowed, limits, 2, 500, prompt).await;
    assert_eq!((&run.stats["total"]["received"], &run.stats["total"]["limited"]), (&500.into(), &0.into()));
    // Each minute is used up at once: the last begins when the others are over.
    let minutes = (run.tokens as f64 / (most * 0.98)).ceil() - 1.0;
    assert!(minutes >= 4.0 && run.seconds <= minutes * 61.0, "{} tokens in {} s", run.tokens, run.seconds);
}

#[tokio::test]
async fn a_days_requests_are_used_day_after_day() {
    let most = 200.0;
    let allowed = ServerLimits { per_day: Some(most), ..ServerLimits::default() };
    let limits = LimiterSettings { per_day: Some(most), ..LimiterSettings::default() };
    let run = crawl(allowed, limits, 2, 800, profile).await;
    assert_eq!((&run.stats["total"]["received"], &run.stats["total"]["limited"]), (&800.into(), &0.into()));
    let days = run.seconds / 86_400.0;
    assert!((3.0..3.02).contains(&days), "200 on each of four days: {days}");
}

/// Asks `count` calls one by one at limits that are not the server's; how many
/// were refused, how long it took in seconds, and what was told.
async fn learn(
    allowed: ServerLimits,
    limits: LimiterSettings,
    count: usize,
    call: fn(usize) -> Call,
) -> (u64, f64, Vec<String>) {
    #[derive(Debug)]
    struct Wall(Arc<ManualTimer>);
    impl Clock for Wall {
        fn now_millis(&self) -> u64 {
            1_700_000_000_000 + self.0.now().as_millis() as u64
        }
    }
    let timer: Arc<ManualTimer> = Arc::default();
    let limited = BTreeMap::from([("lastfm".to_owned(), allowed.clone()), ("chat".to_owned(), allowed)]);
    let settings = SandboxSettings { users: 20, songs: Some(40), limits: limited, ..SandboxSettings::default() };
    let sandbox = Sandbox::start_with_clock(&settings, Arc::new(Wall(Arc::clone(&timer)))).await.expect("a port");
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&told);
    let client = Client::new(ClientSettings {
        endpoints: Endpoints::sandbox(&sandbox.url(), sandbox.identity()).paced(&settings.limited()),
        limiters: ["lastfm", "chat"].map(|name| (name.to_owned(), limits.clone())).into(),
        timer: Arc::<ManualTimer>::clone(&timer),
        on_warning: OnWarning::new(move |text| log.lock().expect("a log").push(text.to_owned())),
        ..ClientSettings::default()
    })
    .expect("good settings");
    let session = client.session(None, CancellationToken::new());
    for number in 0..count {
        session.ask(&call(number)).await.expect("an answer");
    }
    let refused = stats(&sandbox.url()).await["total"]["limited"].as_u64().expect("a count");
    sandbox.stop().await;
    let told = told.lock().expect("a log").clone();
    (refused, timer.now().as_secs_f64(), told)
}

#[tokio::test]
async fn what_a_server_allows_is_learnt_from_its_headers() {
    let allowed = ServerLimits { per_minute: Some(60.0), ..ServerLimits::default() };
    let limits = LimiterSettings { per_minute: Some(6000.0), ..LimiterSettings::default() };
    let (refused, seconds, told) = learn(allowed, limits, 200, prompt).await;
    assert!(refused <= 1, "two were sent before anything was known: {refused}");
    assert!((195.0..210.0).contains(&seconds), "one a second: {seconds}");
    let lower =
        "`chat`: the provider allows 60 requests per minute, not the 6,000 of the pipeline; the run keeps to that";
    assert_eq!(told, [lower]);
}

#[tokio::test]
async fn who_allows_less_and_does_not_say_so_is_asked_more_slowly() {
    let allowed = ServerLimits { per_minute: Some(60.0), ..ServerLimits::default() };
    let limits = LimiterSettings { per_minute: Some(120.0), ..LimiterSettings::default() };
    let (refused, seconds, _) = learn(allowed, limits, 400, profile).await;
    assert!(refused > 0 && refused < 40, "{refused} of 400");
    assert!(seconds < 400.0 * 1.5, "{seconds}");
}

#[cfg(unix)]
#[test]
fn a_days_limit_is_told_and_ctrl_c_ends_the_wait() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    const CRAWL: &str = "\
pipeline: slow
limiters: { lastfm: { per_day: 5 } }
sandbox: { users: 30, songs: 40, limits: { lastfm: { per_day: 5 } } }
stages:
  users: { kind: crawl_users, with: { max_users: 20 } }
";
    let lab = Lab::with(&[("slow.yaml", CRAWL)]);
    let mut run = lab.command(["run", "slow.yaml"]).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut lines = BufReader::new(run.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let told = lines.find(|line| line.contains("goes on at")).expect("it says that it waits");
    assert!(told.contains("`lastfm` has used its 5 requests of today; goes on at "), "{told}");
    let sent = Command::new("kill").args(["-INT", &run.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    // Without the interruption this would take a day.
    assert_eq!(run.wait().expect("an end").code(), Some(130));
}
