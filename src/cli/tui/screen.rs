//! The terminal while a dashboard is on it, and giving it back: when the run
//! ends, when it is aborted, and when something panics.

use std::io::{self, IsTerminal, Stderr};
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread::{self, ThreadId};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::super::errors::Mistake;
use super::super::observers::lock;
use super::super::terminal::terminal_is_dumb;

/// Refuses where there is no terminal for a dashboard.
///
/// # Errors
/// [`Mistake`] that says what is none.
pub(in crate::cli) fn require_terminal() -> Result<(), Mistake> {
    let streams = [
        ("standard input", io::stdin().is_terminal()),
        ("standard output", io::stdout().is_terminal()),
        ("standard error", io::stderr().is_terminal()),
    ];
    let missing = streams.into_iter().find(|(_, is_terminal)| !is_terminal).map(|(name, _)| name);
    let why = match missing {
        Some(name) => format!("--tui needs a terminal, and {name} is none"),
        None if terminal_is_dumb() => {
            "--tui needs a terminal that can do more than show lines (TERM is `dumb`)".to_owned()
        }
        None => return Ok(()),
    };
    Err(Mistake::new(why).hint("leave --tui out: the run is then told in lines; --json tells it to a program"))
}

/// The terminal, taken or given back.
#[derive(Debug, Default)]
pub(super) struct Screen {
    is_taken: Mutex<bool>,
}

impl Screen {
    /// Takes the terminal: what is on it comes back later.
    ///
    /// # Errors
    /// What the terminal answers; then it is as it was.
    pub(super) fn take(&self) -> io::Result<Terminal<CrosstermBackend<Stderr>>> {
        let mut is_taken = lock(&self.is_taken);
        *is_taken = true;
        let taken = enable_raw_mode()
            // `Terminal::clear` would ask the terminal where its cursor is, and not every one answers.
            .and_then(|()| execute!(io::stderr(), EnterAlternateScreen, Clear(ClearType::All)))
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stderr())));
        if taken.is_err() {
            give_back(&mut is_taken);
        }
        taken
    }

    /// Holds the terminal while it is drawn on; none when it is given back.
    pub(super) fn hold(&self) -> Option<MutexGuard<'_, bool>> {
        Some(lock(&self.is_taken)).filter(|is_taken| **is_taken)
    }

    /// Gives the terminal back as it was. Once is enough.
    pub(super) fn give_back(&self) {
        give_back(&mut lock(&self.is_taken));
    }

    /// The same in a panic, whoever holds it.
    fn wrest(&self) {
        match self.is_taken.try_lock() {
            Ok(mut is_taken) => give_back(&mut is_taken),
            Err(TryLockError::Poisoned(poisoned)) => give_back(&mut poisoned.into_inner()),
            // The thread that panics may hold it itself: waiting could be for ever.
            Err(TryLockError::WouldBlock) => give_back(&mut true),
        }
    }
}

/// A terminal that went away cannot be given back; nobody would see it.
fn give_back(is_taken: &mut bool) {
    if std::mem::take(is_taken) {
        execute!(io::stderr(), LeaveAlternateScreen, Show).ok();
        disable_raw_mode().ok();
    }
}

/// A panic hook as the standard library keeps it.
type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Takes care of panics while the terminal is taken, until it is dropped.
pub(super) struct PanicCare {
    before: Arc<Hook>,
}

impl PanicCare {
    /// A panic of the calling thread, or of one that `is_ours` knows, gives the
    /// terminal back and is told as ever. One of a stage is caught by the engine,
    /// which goes on: it is told by `tell` alone.
    pub(super) fn new(
        screen: &Arc<Screen>,
        is_ours: impl Fn(ThreadId) -> bool + Send + Sync + 'static,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let before = Arc::new(panic::take_hook());
        let (screen, hook, caller) = (Arc::clone(screen), Arc::clone(&before), thread::current().id());
        panic::set_hook(Box::new(move |info| {
            let thread = thread::current().id();
            if thread == caller || is_ours(thread) {
                screen.wrest();
                hook(info);
            } else {
                tell(&format!("! {info}"));
            }
        }));
        Self { before }
    }
}

impl Drop for PanicCare {
    fn drop(&mut self) {
        // A thread that panics cannot change the hook; it stays, and does no harm.
        if !thread::panicking() {
            let before = Arc::clone(&self.before);
            panic::set_hook(Box::new(move |info| before(info)));
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    #[ignore = "the next test runs it, in a terminal of its own"]
    fn panics_while_the_terminal_is_taken() {
        let screen = Arc::new(Screen::default());
        let told = Arc::<Mutex<String>>::default();
        let heard = Arc::clone(&told);
        let _care = PanicCare::new(&screen, |_| false, move |line| lock(&heard).push_str(line));
        let _terminal = screen.take().expect("a terminal");
        assert!(thread::spawn(|| panic!("in a stage")).join().is_err());
        assert!(lock(&told).contains("in a stage") && screen.hold().is_some(), "that is only told");
        panic!("of the program");
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_told() {
        let test = "cli::tui::screen::tests::panics_while_the_terminal_is_taken";
        let binary = std::env::current_exe().expect("this binary");
        let line = format!("{} --exact {test} --ignored --nocapture; stty -a", binary.display());
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::null());
        let Ok(output) = command.output() else {
            return println!("skipped: there is no `script` of util-linux");
        };
        let shown = String::from_utf8_lossy(&output.stdout);
        let (taken, after) = shown.split_once("\u{1b}[?1049l").expect("the screen comes back");
        assert!(taken.contains("\u{1b}[?1049h") && !taken.contains("of the program"), "{shown}");
        assert!(after.contains("of the program") && !shown.contains("in a stage"), "{shown}");
        assert!(after.contains(" icanon") && !after.contains("-icanon"), "{shown}");
    }
}
