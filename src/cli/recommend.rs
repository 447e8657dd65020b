//! `refrain recommend`: what a trained model would play to a user next, from the
//! artifacts of the last run. Nothing is run.

use arrow::array::Array;
use serde_json::{Value, json};

use super::arguments::Global;
use super::errors::{Exit, Mistake};
use super::grid::{Align, Grid};
use super::project::{self, Project};
use super::recommender::{ModelArguments, Recommender, texts};
use super::terminal::{Style, data};
use crate::ground::closest;
use crate::model::interactions::{Interactions, Part};
use crate::model::model_table::tensors_of_table;
use crate::model::scoring::ScoringModel;
use crate::people::People;
use crate::table::read_parquet;

/// How many of a user's last items are shown.
const LAST: usize = 5;

/// What `recommend` can be told.
#[derive(Debug, clap::Args)]
pub(super) struct RecommendArguments {
    #[command(flatten)]
    pub(super) model: ModelArguments,
    /// The user: an id as in the split, or the name that a pseudonym stands for
    #[arg(long, value_name = "NAME")]
    pub(super) user: String,
}

/// Lists the best items of a user that it does not have.
///
/// # Errors
/// If there is no such user or model.
pub(super) fn recommend(global: &Global, arguments: &RecommendArguments) -> anyhow::Result<Exit> {
    let of_model = &arguments.model;
    let project = match project::open(global, of_model.file.clone(), &of_model.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let found = Recommender::open(&project, of_model, global)?;
    let split = Interactions::of_parquet(&found.split.path)?;
    let user = user_of(&project, &split, &arguments.user)?;
    let tensors = tensors_of_table(&read_parquet(&found.model.path, None)?)?;
    let model = ScoringModel::of_tensors(&tensors, &split).map_err(|error| {
        Mistake::new(format!("the model of `{}` does not fit its split", found.evaluated))
            .hint("the split has been made again since: run the pipeline")
            .because(error)
    })?;
    let has = split.sets(&[Part::Train, Part::Validation, Part::Test]);
    let best = model.top(&[user], of_model.k as usize, &has, &|_| true).unwrap_or_default().pop().unwrap_or_default();
    let best: Vec<(&str, f32)> = best.iter().map(|(item, score)| (split.items.get(*item), *score)).collect();
    let last = last_items(&found, split.users.get(user))?;
    if of_model.json {
        data(&serde_json::to_string_pretty(&as_json(&found, &arguments.user, &best, &last))?)?;
        return Ok(Exit::Done);
    }
    let style = Style::of_stdout(global.color);
    let heard: Vec<String> = last.iter().map(|item| found.titles.line(item)).collect();
    let head = format!("{}  by {}", style.bold(&arguments.user), found.evaluated);
    let heard = format!("  last of {}: {}", has.of_user(user).len(), heard.join("; "));
    let text = match (best.is_empty(), has.of_user(user).len() >= split.items.len()) {
        (true, true) => "  has every item".to_owned(),
        (true, false) => "  the model ranks none of the items that are left".to_owned(),
        (false, _) => grid(&found, &best).text(2, 60),
    };
    data(&format!("{head}\n{}\n\n{text}", style.dim(&heard)))?;
    found.say_notes(of_model, global);
    Ok(Exit::Done)
}

/// Ranks, scores and what is known of the items' names.
pub(super) fn grid(found: &Recommender, items: &[(&str, f32)]) -> Grid {
    let names = [("artist", found.titles.has[0]), ("title", found.titles.has[1])];
    let mut head = vec![("rank", Align::Right), ("score", Align::Right)];
    head.extend(names.iter().filter(|(_, there)| *there).map(|(name, _)| (*name, Align::Left)));
    head.push(("item", Align::Left));
    let mut grid = Grid::new(head);
    for (place, (item, score)) in items.iter().enumerate() {
        let mut row = vec![(place + 1).to_string(), format!("{score:.4}")];
        let texts = found.titles.of(item).into_iter().zip(names);
        row.extend(texts.filter(|(_, (_, there))| *there).map(|(text, _)| text.to_owned()));
        row.push((*item).to_owned());
        grid.row(row);
    }
    grid
}

/// The same for programs.
pub(super) fn rows_as_json(found: &Recommender, items: &[(&str, f32)]) -> Vec<Value> {
    let row = |(place, (item, score)): (usize, &(&str, f32))| {
        let [artist, title] = found.titles.of(item);
        json!({"rank": place + 1, "item_id": item, "artist": artist, "title": title, "score": score})
    };
    items.iter().enumerate().map(row).collect()
}

fn as_json(found: &Recommender, user: &str, best: &[(&str, f32)], last: &[String]) -> Value {
    json!({
        "user": user,
        "variant": found.name,
        "seed": found.seed,
        "stage": found.evaluated,
        "stale": found.is_stale(),
        "synthetic": found.is_synthetic(),
        "last": last,
        "recommended": rows_as_json(found, best),
    })
}

/// A user by id, or by the name that the store's pseudonym hides.
fn user_of(project: &Project, split: &Interactions, name: &str) -> Result<u32, Mistake> {
    let folder = project.store.people_folder();
    let pseudonym = || if folder.join("salt").exists() { People::new(folder).pseudonym(name).ok() } else { None };
    let found = split.users.index_of(name).or_else(|| split.users.index_of(&pseudonym()?));
    found.ok_or_else(|| {
        let mistake = Mistake::new(format!("the split has no user `{name}`"));
        let near = closest(name, split.users.iter());
        let first = split.users.iter().take(3).collect::<Vec<_>>().join("`, `");
        mistake.hint(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {} users, such as `{first}`", split.users.len()),
        })
    })
}

/// The user's latest items, the last first.
fn last_items(found: &Recommender, user: &str) -> anyhow::Result<Vec<String>> {
    let timed = found.split.artifact.columns.iter().any(|column| column.name == "at");
    let columns: Vec<String> =
        ["user_id", "item_id"].into_iter().chain(timed.then_some("at")).map(str::to_owned).collect();
    let table = read_parquet(&found.split.path, Some(&columns))?;
    let (users, items) = (texts(&table, "user_id")?, texts(&table, "item_id")?);
    let times = if timed { Some(table.integers("at")?.clone()) } else { None };
    let at = |row: usize| times.as_ref().filter(|times| times.is_valid(row)).map(|times| times.value(row));
    let mut rows: Vec<(Option<i64>, usize)> =
        users.iter().enumerate().filter(|(_, of)| *of == user).map(|(row, _)| (at(row), row)).collect();
    rows.sort_unstable();
    Ok(rows.iter().rev().take(LAST).map(|(_, row)| items[*row].clone()).collect())
}
