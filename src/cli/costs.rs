//! `refrain costs`: what went over the network, summed from the store's ledger.

use super::arguments::{CostsArguments, Global, SumBy};
use super::errors::Exit;
use super::grid::{Align, Grid};
use super::project;
use super::terminal::{Style, count, data, say, thousands};
use crate::engine::{self, CostLine, Costs, CostsBy};
use crate::ground::{Clock, SystemClock, dollars};

/// Prints the sums, the total last.
///
/// # Errors
/// If there is no store, or its ledger cannot be read.
pub(super) fn costs(global: &Global, arguments: &CostsArguments) -> anyhow::Result<Exit> {
    let store = project::existing_store(global)?;
    if arguments.path {
        store.close_ledgers()?;
        data(&store.ledger_folder().display().to_string())?;
        return Ok(Exit::Done);
    }
    let age = arguments.since.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let since = age.map_or(0, |age| SystemClock.now_millis().saturating_sub(age));
    let costs = engine::costs(&store, by(arguments.by), since, arguments.sandbox).map_err(project::refused)?;
    let style = Style::of_stderr(global.color);
    project::say_warnings(&[], &store, style);
    if arguments.json {
        data(&serde_json::to_string_pretty(&costs)?)?;
        return Ok(Exit::Done);
    }
    if costs.lines.is_empty() {
        let whom = if costs.synthetic { "no sandbox was asked anything" } else { "nothing was spent" };
        say(&style.dim(&format!("{whom} from this store{}", if age.is_some() { " in that time" } else { " yet" })));
    } else {
        data(&grid(&costs).text(0, 60))?;
    }
    if costs.synthetic {
        say(&style.yellow("synthetic: sandboxes answered, and nobody was paid"));
    } else if costs.left_out > 0 {
        let sandboxes = count(costs.left_out, "request");
        say(&style.dim(&format!("left out: {sandboxes} to sandboxes, which cost nothing; --sandbox sums them")));
    }
    Ok(Exit::Done)
}

fn by(by: SumBy) -> CostsBy {
    match by {
        SumBy::Run => CostsBy::Run,
        SumBy::Stage => CostsBy::Stage,
        SumBy::Provider => CostsBy::Provider,
        SumBy::Limiter => CostsBy::Limiter,
        SumBy::Day => CostsBy::Day,
        SumBy::Model => CostsBy::Model,
    }
}

fn grid(costs: &Costs) -> Grid {
    let name = match costs.by {
        CostsBy::Run => "run",
        CostsBy::Stage => "stage",
        CostsBy::Provider => "provider",
        CostsBy::Limiter => "limiter",
        CostsBy::Day => "day",
        CostsBy::Model => "model",
    };
    let mut grid = Grid::new([
        (name, Align::Left),
        ("requests", Align::Right),
        ("repeated", Align::Right),
        ("prompt tokens", Align::Right),
        ("answer tokens", Align::Right),
        ("usd", Align::Right),
    ]);
    for CostLine { name, spent, repeated } in costs.lines.iter().chain([&costs.total]) {
        let counts = [spent.requests, *repeated, spent.prompt_tokens, spent.completion_tokens].map(thousands);
        grid.row([name.clone()].into_iter().chain(counts).chain([dollars(spent.usd)]));
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Spent;

    #[test]
    fn the_total_stands_last() {
        let line = |name: &str, requests, usd| CostLine {
            name: name.into(),
            spent: Spent { requests, prompt_tokens: 2 * requests, completion_tokens: requests, usd },
            repeated: 1,
        };
        let (lines, total) = (vec![line("lastfm", 1200, 0.0), line("groq", 30, 0.0042)], line("total", 1230, 0.0042));
        let costs = Costs { by: CostsBy::Limiter, synthetic: false, lines, total, left_out: 0 };
        let text = "\
limiter  requests  repeated  prompt tokens  answer tokens      usd
───────  ────────  ────────  ─────────────  ─────────────  ───────
lastfm      1,200         1          2,400          1,200    $0.00
groq           30         1             60             30  $0.0042
total       1,230         1          2,460          1,230  $0.0042";
        assert_eq!(grid(&costs).text(0, 60), text);
    }
}
