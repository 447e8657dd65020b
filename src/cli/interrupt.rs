//! `Ctrl-C` and SIGTERM: the first stops cleanly, the second at once.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::errors::Exit;
use super::run::Speak;

/// Stops a run: cleanly when it is asked to first, at once when it is asked again.
pub(super) struct Brake {
    cancel: CancellationToken,
    speak: Speak,
    /// Done before the process ends at once.
    last: Box<dyn Fn() + Send + Sync>,
    pressed: AtomicBool,
}

impl Brake {
    /// One that cancels the token, and says so.
    pub(super) fn new(cancel: CancellationToken, speak: Speak) -> Self {
        Self { cancel, speak, last: Box::new(|| ()), pressed: AtomicBool::new(false) }
    }

    /// The same, which does this before it ends the process.
    pub(super) fn and_last(self, last: impl Fn() + Send + Sync + 'static) -> Self {
        Self { last: Box::new(last), ..self }
    }

    /// Asks for a stop.
    pub(super) fn press(&self) {
        if self.pressed.swap(true, Ordering::AcqRel) {
            (self.last)();
            abort();
        }
        (self.speak)("stopping; what is running is told to stop (again to abort at once)");
        self.cancel.cancel();
    }
}

/// Presses the brake at each signal. Call it before the work starts.
///
/// # Errors
/// If the system gives no thread or no signal handler.
pub(super) fn watch(brake: Arc<Brake>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("could not start the thread that listens for Ctrl-C")?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::listen().context("could not listen for Ctrl-C")?
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    signals.next().await;
                    brake.press();
                }
            });
        })
        .context("could not start the thread that listens for Ctrl-C")?;
    Ok(())
}

#[expect(clippy::exit, reason = "the user asked twice to stop; nothing that is kept is half written")]
fn abort() -> ! {
    std::process::exit(Exit::Interrupted.code().into())
}

/// How to go on after a run was stopped: with the same words.
pub(super) fn farewell(words: impl Iterator<Item = OsString>) -> String {
    let words: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    format!(
        "stopped; what is finished is kept, and no answer is asked for twice\n  hint: go on with `refrain {}`",
        words.join(" ")
    )
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The signals that ask a process to stop.
#[cfg(unix)]
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Starts to listen; call it inside of a runtime.
    ///
    /// # Errors
    /// If the system refuses.
    pub(super) fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The signals that ask a process to stop.
#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Starts to listen; call it inside of a runtime.
    ///
    /// # Errors
    /// If the system refuses.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_press_stops_cleanly() {
        let cancel = CancellationToken::new();
        let told = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&told);
        let brake = Brake::new(cancel.clone(), Arc::new(move |_: &str| heard.store(true, Ordering::Release)));
        assert!(!cancel.is_cancelled());
        brake.press();
        assert!(cancel.is_cancelled() && told.load(Ordering::Acquire));
    }

    #[test]
    fn the_same_words_are_told_as_a_shell_takes_them() {
        let words = ["run", "p.yaml", "--set", "A=it's b", "--sandbox=http://127.0.0.1:9"].map(OsString::from);
        let told = farewell(words.into_iter());
        assert!(told.ends_with("`refrain run p.yaml --set 'A=it'\\''s b' --sandbox=http://127.0.0.1:9`"), "{told}");
    }
}
