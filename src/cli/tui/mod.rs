//! `refrain run --tui`: the whole terminal shows the run. `dashboard` is what is
//! known, `draw` how it looks; here they meet the terminal, the keys and the
//! engine.

mod asking;
mod dashboard;
mod draw;
#[cfg(test)]
mod draw_tests;
mod facts;
#[cfg(test)]
mod fixtures;
mod keys;
mod limiter;
mod look;
mod panes;
mod rows;
mod screen;
mod stage;
mod stages;

use std::io::Stderr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event;
use tokio_util::sync::CancellationToken;

use self::asking::{AskOnDashboard, Asking};
use self::dashboard::Dashboard;
use self::keys::{Wish, of_event};
use self::look::Look;
use self::screen::{PanicCare, Screen};
use super::interrupt::{self, Brake};
use super::narrator::Narrator;
use super::observers::lock;
use super::run::Speak;
use super::terminal::{Style, say};
use crate::engine::{self, Event, Observer};
use crate::ground::{Clock, SystemClock};
use crate::store::Store;
use crate::web::BudgetSettings;

pub(super) use self::facts::Facts;
pub(super) use self::screen::require_terminal;

/// How often the dashboard is drawn, unless keys come in.
const TICK: Duration = Duration::from_millis(100);

/// A dashboard on the terminal. It is given back when this is dropped.
pub(super) struct Tui {
    shared: Arc<Shared>,
    screen: Arc<Screen>,
    drawing: Option<JoinHandle<()>>,
    _care: PanicCare,
}

/// What the engine's threads, the drawing thread and the signals share.
struct Shared {
    started: Instant,
    dashboard: Mutex<Dashboard>,
    asking: Asking,
    /// What is left on the normal screen when the run has ended.
    told: Mutex<Told>,
    is_over: AtomicBool,
    /// The thread that draws, once it does.
    drawer: OnceLock<ThreadId>,
    /// Where earlier runs wrote down what they spent, and of which budgets.
    store: Store,
    budgets: std::collections::BTreeMap<String, BudgetSettings>,
}

/// The lines of a run as they stand on the normal screen.
struct Told {
    narrator: Narrator,
    lines: Vec<String>,
}

impl Tui {
    /// Takes the terminal, and listens to keys and signals: the first that asks
    /// for a stop cancels `cancel`.
    ///
    /// # Errors
    /// If the terminal cannot be taken or a thread cannot be started.
    pub(super) fn start(facts: Facts, store: &Store, cancel: &CancellationToken, style: Style) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            started: Instant::now(),
            budgets: facts.budgets.clone(),
            dashboard: Mutex::new(Dashboard::new(facts)),
            asking: Asking::default(),
            told: Mutex::new(Told { narrator: Narrator::new(style, true), lines: Vec::new() }),
            is_over: AtomicBool::new(false),
            drawer: OnceLock::new(),
            store: store.clone(),
        });
        let screen = Arc::new(Screen::default());
        let (speaker, stopped) = (Arc::clone(&shared), Arc::clone(&screen));
        let speak: Speak = Arc::new(move |line: &str| speaker.stopping(line));
        let brake = Arc::new(Brake::new(cancel.clone(), speak).and_last(move || stopped.give_back()));
        interrupt::watch(Arc::clone(&brake))?;
        let (teller, drawn) = (Arc::clone(&shared), Arc::clone(&shared));
        let care = PanicCare::new(
            &screen,
            move |thread| drawn.drawer.get() == Some(&thread),
            move |line| teller.tell_of_panic(line),
        );
        let terminal = screen.take().context("could not take the terminal for --tui")?;
        let mut tui = Self { shared: Arc::clone(&shared), screen: Arc::clone(&screen), drawing: None, _care: care };
        let look = Look { colour: style.is_coloured() };
        let draw = move || {
            shared.drawer.set(thread::current().id()).ok();
            // A terminal that is gone does not stop the run.
            show(&shared, &screen, terminal, &brake, look).ok();
        };
        let started = thread::Builder::new().name("dashboard".to_owned()).spawn(draw);
        tui.drawing = Some(started.context("could not start the thread of the dashboard")?);
        Ok(tui)
    }

    /// Watches the run for the dashboard.
    pub(super) fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.shared) as Arc<dyn Observer>
    }

    /// Says a line on the dashboard, and on the normal screen afterwards.
    pub(super) fn speaker(&self) -> Speak {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |line: &str| shared.say(line))
    }

    /// Asks the user, on the dashboard, where a budget is not enough, and about jobs of a cluster.
    pub(super) fn asker(&self) -> AskOnDashboard {
        AskOnDashboard::new(Arc::clone(&self.shared))
    }

    /// Gives the terminal back and prints what the run told.
    pub(super) fn end(mut self) {
        self.close();
        lock(&self.shared.told).lines.iter().for_each(|line| say(line));
    }

    fn close(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(drawing) = self.drawing.take() {
            // If it panicked, that is told already, and the terminal given back.
            drawing.join().ok();
        }
        self.screen.give_back();
    }
}

impl Drop for Tui {
    fn drop(&mut self) {
        self.close();
    }
}

/// Draws and listens to keys until the run is over.
fn show(
    shared: &Shared,
    screen: &Screen,
    mut terminal: Terminal<CrosstermBackend<Stderr>>,
    brake: &Brake,
    look: Look,
) -> std::io::Result<()> {
    while !shared.is_over.load(Ordering::Acquire) {
        {
            let Some(_held) = screen.hold() else { return Ok(()) };
            terminal.draw(|frame| {
                let area = frame.area();
                draw::draw(&lock(&shared.dashboard), shared.started.elapsed(), look, area, frame.buffer_mut());
            })?;
        }
        let mut wait = TICK;
        while event::poll(wait)? {
            wait = Duration::ZERO;
            let Some(key) = of_event(&event::read()?) else { continue };
            let wish = lock(&shared.dashboard).key(key);
            match wish {
                Some(Wish::Stop) => brake.press(),
                Some(Wish::Answer(reply)) => shared.asking.answer(reply),
                None => {}
            }
        }
    }
    Ok(())
}

impl Shared {
    /// Says a line on the dashboard, and on the normal screen afterwards.
    fn say(&self, line: &str) {
        lock(&self.dashboard).say(line);
        lock(&self.told).lines.push(line.to_owned());
    }

    /// The run was told to stop.
    fn stopping(&self, line: &str) {
        lock(&self.dashboard).is_stopping = true;
        self.say(line);
    }

    /// A stage panicked. Whoever panics may hold what is needed here: then the
    /// engine's own message must do.
    fn tell_of_panic(&self, line: &str) {
        if let Ok(mut dashboard) = self.dashboard.try_lock() {
            dashboard.say(line);
        }
        if let Ok(mut told) = self.told.try_lock() {
            told.lines.push(line.to_owned());
        }
    }

    /// What earlier runs spent of each budget.
    fn remember_spending(&self, sandbox: Option<&str>) {
        let now = SystemClock.now_millis();
        // What cannot be read is told by the run itself before it spends.
        let Ok(before) = engine::spent_before(&self.store, &self.budgets, sandbox, now) else { return };
        let mut dashboard = lock(&self.dashboard);
        for (name, spent) in before {
            if let Some(limiter) = dashboard.limiters.get_mut(&name) {
                limiter.before = spent;
            }
        }
    }
}

impl Observer for Shared {
    fn event(&self, event: &Event) {
        if let Event::RunStarted { sandbox, .. } = event {
            self.remember_spending(sandbox.as_deref());
        }
        lock(&self.dashboard).event(event, self.started.elapsed());
        // As in the live view: that a stage started is of no interest afterwards.
        if !matches!(event, Event::StageStarted { .. }) {
            let mut told = lock(&self.told);
            let lines = told.narrator.tell(event);
            told.lines.extend(lines);
        }
    }
}
