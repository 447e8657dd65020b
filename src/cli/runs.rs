//! `refrain runs`: the runs that a store remembers.

use super::arguments::{Global, RunsArguments};
use super::errors::Exit;
use super::gauge::money;
use super::grid::{Align, Grid};
use super::project;
use super::terminal::{Style, count, data, duration, say, thousands};
use crate::engine::{self, RunRecord};
use crate::ground::{Clock, SystemClock, age};

/// Lists the runs, newest first.
///
/// # Errors
/// If the pipeline or the store cannot be read.
pub(super) fn runs(global: &Global, arguments: &RunsArguments) -> anyhow::Result<Exit> {
    let pipeline = match &arguments.file {
        None => None,
        Some(file) => match project::read(global, Some(file.clone()), &arguments.reading)? {
            Ok(pipeline) => Some(pipeline.name),
            Err(exit) => return Ok(exit),
        },
    };
    let store = project::open_store(global)?;
    let (runs, more) = engine::runs(&store, pipeline.as_deref(), arguments.limit).map_err(project::refused)?;
    if arguments.json {
        data(&serde_json::to_string_pretty(&runs)?)?;
        return Ok(Exit::Done);
    }
    if runs.is_empty() && more == 0 {
        let what = pipeline.map_or_else(|| "nothing has run".to_owned(), |name| format!("`{name}` has not run"));
        say(&Style::of_stderr(global.color).dim(&format!("{what} in this store yet")));
        return Ok(Exit::Done);
    }
    data(&grid(&runs, SystemClock.now_millis()).text(0, 64))?;
    if more > 0 {
        say(&format!("… and {}: `refrain runs --limit {}`", count(more as u64, "older run"), runs.len() + more));
    }
    Ok(Exit::Done)
}

fn grid(runs: &[RunRecord], now_millis: u64) -> Grid {
    let is_paid = runs.iter().any(|run| run.spent.usd > 0.0);
    let head = [
        ("run", Align::Left),
        ("when", Align::Right),
        ("pipeline", Align::Left),
        ("state", Align::Left),
        ("ran", Align::Right),
        ("cached", Align::Right),
        ("failed", Align::Right),
        ("requests", Align::Right),
        ("cost", Align::Right),
        ("took", Align::Right),
    ];
    let mut grid = Grid::new(head.into_iter().filter(|(name, _)| is_paid || *name != "cost"));
    for run in runs {
        let mut cells = vec![
            run.run.clone(),
            format!("{} ago", age(run.at_millis, now_millis)),
            run.pipeline.clone().unwrap_or_else(|| "?".to_owned()),
            run.state.word().to_owned(),
            run.ran.to_string(),
            run.cached.to_string(),
            run.failed.to_string(),
            thousands(run.spent.requests),
        ];
        let cost = if run.spent.usd > 0.0 { money(run.spent.usd) } else { "–".to_owned() };
        cells.extend(is_paid.then_some(cost));
        cells.push(run.seconds.map_or_else(|| "–".to_owned(), duration));
        grid.row(cells);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::RunState;
    use crate::web::Spent;

    #[test]
    fn a_run_without_an_end_has_no_time() {
        let run = |run: &str, state, seconds| RunRecord {
            run: run.into(),
            pipeline: Some("demo".into()),
            at_millis: 0,
            state,
            stages: 3,
            ran: 2,
            cached: 1,
            failed: 0,
            skipped: 0,
            spent: Spent { requests: 1200, ..Spent::default() },
            seconds,
        };
        let runs = [run("b", RunState::Running, None), run("a", RunState::Complete, Some(65.0))];
        let text = "\
run       when  pipeline  state     ran  cached  failed  requests        took
───  ─────────  ────────  ────────  ───  ──────  ──────  ────────  ──────────
b    3 min ago  demo      running     2       1       0     1,200           –
a    3 min ago  demo      complete    2       1       0     1,200  1 min 05 s";
        assert_eq!(grid(&runs, 180_000).text(0, 64), text);
        let mut paid = runs;
        paid[1].spent.usd = 0.191;
        let text = "\
run       when  pipeline  state     ran  cached  failed  requests   cost        took
───  ─────────  ────────  ────────  ───  ──────  ──────  ────────  ─────  ──────────
b    3 min ago  demo      running     2       1       0     1,200      –           –
a    3 min ago  demo      complete    2       1       0     1,200  $0.19  1 min 05 s";
        assert_eq!(grid(&paid, 180_000).text(0, 64), text);
    }
}
