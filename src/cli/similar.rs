//! `refrain similar`: the tracks that a model, or the text vectors below it, hold
//! for like a given one. Nothing is run.

use arrow::array::Array as _;
use serde_json::json;

use super::arguments::Global;
use super::errors::{Exit, Mistake};
use super::project;
use super::recommend::{grid, rows_as_json};
use super::recommender::{ModelArguments, Recommender, texts};
use super::terminal::{Style, data};
use crate::ground::closest;
use crate::model::interactions::Interactions;
use crate::model::item_weights::ItemWeights;
use crate::model::model_table::tensors_of_table;
use crate::table::read_parquet;

/// What likeness is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum By {
    /// The model's item vectors
    Model,
    /// The vectors of the items' texts
    Text,
}

/// What `similar` can be told.
#[derive(Debug, clap::Args)]
pub(super) struct SimilarArguments {
    #[command(flatten)]
    pub(super) model: ModelArguments,
    /// The track: "Artist - Title", a title, an artist where items are artists, or an item's id
    #[arg(long, value_name = "TRACK")]
    pub(super) track: String,
    /// What likeness is measured on
    #[arg(long, value_enum, default_value_t = By::Model)]
    pub(super) by: By,
}

/// Lists the items nearest to one: by the cosine of their vectors, or by how
/// strongly it speaks for them where the model has weights from item to item.
///
/// # Errors
/// If there is no such track, or the model has no vectors.
pub(super) fn similar(global: &Global, arguments: &SimilarArguments) -> anyhow::Result<Exit> {
    let of_model = &arguments.model;
    let project = match project::open(global, of_model.file.clone(), &of_model.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let found = Recommender::open(&project, of_model, global)?;
    let (ids, likeness) = match arguments.by {
        By::Model => of_the_model(&found)?,
        By::Text => of_the_texts(&found)?,
    };
    let at = item_of(&found, &arguments.track, &ids)?;
    let best = likeness.nearest(at, of_model.k as usize);
    let best: Vec<(&str, f32)> = best.iter().map(|(item, score)| (ids[*item].as_str(), *score)).collect();
    if of_model.json {
        let answer = json!({
            "track": found.titles.line(&ids[at]),
            "item_id": ids[at],
            "variant": found.name,
            "seed": found.seed,
            "stage": found.evaluated,
            "stale": found.is_stale(),
            "synthetic": found.is_synthetic(),
            "similar": rows_as_json(&found, &best),
        });
        data(&serde_json::to_string_pretty(&answer)?)?;
        return Ok(Exit::Done);
    }
    let style = Style::of_stdout(global.color);
    let by = if arguments.by == By::Text { "text vectors of " } else { "" };
    let head = format!("{}  by {by}{}", style.bold(&found.titles.line(&ids[at])), found.evaluated);
    let text = if best.is_empty() { "  nothing is like it".to_owned() } else { grid(&found, &best).text(2, 60) };
    data(&format!("{head}\n\n{text}"))?;
    found.say_notes(of_model, global);
    Ok(Exit::Done)
}

/// What tells how like items are.
enum Likeness {
    /// The length of a vector, and the vectors one after the other.
    Vectors(usize, Vec<f32>),
    /// Weights from item to item, as of item-kNN and EASE.
    Weights(ItemWeights),
}

fn of_the_model(found: &Recommender) -> anyhow::Result<(Vec<String>, Likeness)> {
    let tensors = tensors_of_table(&read_parquet(&found.model.path, None)?)?;
    let split = Interactions::of_parquet(&found.split.path)?;
    let other_split = || {
        let mistake = Mistake::new(format!("the model of `{}` does not fit its split", found.evaluated));
        mistake.hint("the split has been made again since: run the pipeline")
    };
    let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
    let likeness = if let Some(weights) = ItemWeights::of_tensors(find, &split) {
        Likeness::Weights(weights.map_err(|_| other_split())?)
    } else if let Some(vectors) = find("item_vectors").filter(|all| all.shape.len() == 2 && all.shape[1] > 0) {
        if split.items.len() != vectors.shape[0] {
            return Err(other_split().into());
        }
        Likeness::Vectors(vectors.shape[1], vectors.values.clone())
    } else {
        let mistake = Mistake::new(format!("the model of `{}` has no vectors of items", found.evaluated));
        return Err(mistake.hint("choose another variant, or compare texts with --by text").into());
    };
    Ok((split.items.iter().map(str::to_owned).collect(), likeness))
}

fn of_the_texts(found: &Recommender) -> anyhow::Result<(Vec<String>, Likeness)> {
    let Some(vectors) = &found.vectors else {
        let mistake = Mistake::new(format!("no text vectors stand above `{}`", found.evaluated));
        return Err(mistake.hint("choose a variant with a text").into());
    };
    let table = read_parquet(&vectors.path, Some(&["item_id".to_owned(), "vector".to_owned()]))?;
    let ids = texts(&table, "item_id")?;
    let (lists, numbers) = table.vectors("vector")?;
    let width = if lists.is_empty() { 0 } else { lists.value_offsets()[1] - lists.value_offsets()[0] } as usize;
    if width == 0 || numbers.values().len() != ids.len() * width {
        return Err(Mistake::new("the text vectors are not all of one length").into());
    }
    Ok((ids, Likeness::Vectors(width, numbers.values().to_vec())))
}

/// The place of the item that is meant.
fn item_of(found: &Recommender, track: &str, ids: &[String]) -> Result<usize, Mistake> {
    if let Some(at) = ids.iter().position(|id| id == track) {
        return Ok(at);
    }
    let meant = found.titles.named(track, ids);
    match meant.as_slice() {
        [one] => Ok(ids.iter().position(|id| id == one).unwrap_or_default()),
        [] => {
            let lines: Vec<String> = ids.iter().map(|id| found.titles.line(id)).collect();
            let mistake = Mistake::new(format!("the model knows no track `{track}`"));
            Err(mistake.hint(match closest(track, lines.iter().map(String::as_str)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "write it as \"Artist - Title\"; `refrain show` lists the items of a stage".to_owned(),
            }))
        }
        several => {
            let lines: Vec<String> =
                several.iter().take(8).map(|id| format!("{} ({id})", found.titles.line(id))).collect();
            let mistake = Mistake::new(format!("`{track}` means {} items: {}", several.len(), lines.join("; ")));
            Err(mistake.hint("write \"Artist - Title\", or the id in brackets"))
        }
    }
}

impl Likeness {
    /// The items most like one, without itself: ties in the order of the items.
    /// One that it does not speak for is not like it.
    fn nearest(&self, at: usize, k: usize) -> Vec<(usize, f32)> {
        let mut all = match self {
            Self::Vectors(width, values) => cosines(values, *width, at),
            Self::Weights(weights) => {
                let weights = weights.from_item(at as u32).into_iter().enumerate();
                weights.filter(|(item, weight)| *item != at && *weight > 0.0).collect()
            }
        };
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(k);
        all
    }
}

/// The cosine of each other item to one; a vector of zeros is like nothing.
fn cosines(values: &[f32], width: usize, at: usize) -> Vec<(usize, f32)> {
    let length = |row: &[f32]| row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    let own = &values[at * width..][..width];
    let own_length = length(own);
    values
        .chunks_exact(width)
        .enumerate()
        .filter(|(item, row)| *item != at && length(row) > 0.0 && own_length > 0.0)
        .map(|(item, row)| {
            let dot: f64 = row.iter().zip(own).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            (item, (dot / (length(row) * own_length)) as f32)
        })
        .collect()
}
