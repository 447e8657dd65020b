//! What `recommend` and `similar` start with: which model of the pipeline is
//! meant, what it was made on, and what its items are called.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::Array;

use super::arguments::Global;
use super::errors::Mistake;
use super::project::{self, Project};
use super::terminal::{Style, say};
use crate::engine::{self, EngineError, Resolved};
use crate::ground::InstanceId;
use crate::pipeline::{Instance, Source};
use crate::table::{Table, read_parquet};
use crate::text::{Normalise, normal};

/// A trained model, as the pipeline last made it.
pub(super) struct Recommender {
    /// The instance of `evaluate` that measures it: `evaluate@V4#0`.
    pub(super) evaluated: String,
    /// Its variant, or the stage's name where it has none.
    pub(super) name: String,
    /// Its seed, where the pipeline has several runs of it.
    pub(super) seed: Option<u64>,
    /// All seeds that it could be of.
    seeds: Vec<u64>,
    pub(super) split: Resolved,
    pub(super) model: Resolved,
    /// The text vectors below it, where it has some.
    pub(super) vectors: Option<Resolved>,
    pub(super) titles: Titles,
    /// The instance of the model or the split that a run would make otherwise now.
    outdated: Option<InstanceId>,
}

/// What items are called.
#[derive(Debug, Default)]
pub(super) struct Titles {
    /// Artist and title by item; either may be empty.
    names: BTreeMap<String, [String; 2]>,
    /// Whether there are artists and titles.
    pub(super) has: [bool; 2],
}

/// The columns that may hold an item's title.
const TITLES: [&str; 3] = ["title", "track", "name"];

impl Recommender {
    /// The model of a variant (or of a stage, as `popularity`): the one named,
    /// else the best of the leaderboard; of the first seed unless one is named.
    ///
    /// # Errors
    /// If there is no such model, or what it is made of is not in the store.
    pub(super) fn open(project: &Project, arguments: &ModelArguments, global: &Global) -> anyhow::Result<Self> {
        let all: Vec<(usize, &Instance)> = project
            .pipeline
            .instances
            .iter()
            .enumerate()
            .filter(|(_, instance)| ["split", "model"].iter().all(|port| instance.inputs.contains_key(*port)))
            .collect();
        let mut names: Vec<&str> = all.iter().map(|(_, instance)| name_of(instance)).collect();
        names.dedup();
        let wanted = match &arguments.variant {
            Some(name) => name.clone(),
            None => best(project).or_else(|| (names.len() == 1).then(|| names[0].to_owned())).ok_or_else(|| {
                Mistake::new("there is no leaderboard to take the best variant from")
                    .hint(format!("name one with --variant: {}", names.join(", ")))
            })?,
        };
        let found = all.iter().find(|(_, instance)| is_named(&instance.id, &wanted));
        let Some((index, instance)) = found else {
            return Err(no_variant(&wanted, &all, &names).into());
        };
        let siblings = all.iter().map(|(_, other)| &other.id);
        let siblings = siblings.filter(|id| (&id.stage, &id.variant) == (&instance.id.stage, &instance.id.variant));
        let input = |port: &str| {
            let found = find(project, &instance.inputs[port][0]);
            found.map_err(|error| arguments.refused(error, &instance.id.to_string()))
        };
        let (model, split) = (input("model")?, input("split")?);
        let vectors = above(project, *index, &|table| table.has("vector") && table.has("item_id"));
        let titles = match &arguments.titles {
            Some(stage) => project.resolve(stage).map_err(|error| arguments.refused(error, stage))?,
            None => titles_of(project, *index).ok_or_else(|| {
                Mistake::new("no table of the pipeline says what the items are called")
                    .hint("name a stage whose table has `item_id` and `artist` or `title` with --titles STAGE")
            })?,
        };
        Ok(Self {
            evaluated: instance.id.to_string(),
            name: name_of(instance).to_owned(),
            seed: instance.id.seed,
            seeds: siblings.filter_map(|id| id.seed).collect(),
            outdated: outdated(project, arguments, [&model, &split], global)?,
            split,
            model,
            vectors,
            titles: Titles::read(&titles)?,
        })
    }

    /// Whether the model was made from a synthetic world.
    pub(super) fn is_synthetic(&self) -> bool {
        self.model.sandbox.is_some() || self.split.sandbox.is_some()
    }

    /// Whether a run would make another model or split now.
    pub(super) fn is_stale(&self) -> bool {
        self.outdated.is_some()
    }

    /// Says what a reader of the list should know: which of several seeds it is
    /// of, that a run would make it otherwise now, that its world is generated.
    pub(super) fn say_notes(&self, arguments: &ModelArguments, global: &Global) {
        let style = Style::of_stderr(global.color);
        if let (Some(seed), true) = (self.seed, self.seeds.len() > 1 && !names_a_seed(arguments)) {
            let others: Vec<String> = self.seeds.iter().filter(|other| **other != seed).map(u64::to_string).collect();
            let (name, others) = (&self.name, others.join(", "));
            say(&style.dim(&format!("seed {seed} is shown; --variant {name}#SEED shows another: {others}")));
        }
        if let Some(id) = &self.outdated {
            let command = arguments.command("why", &id.to_string());
            say(&style.yellow(&format!(
                "! `{id}` was made from other settings or inputs than the pipeline has now; `{command}` says which"
            )));
        }
        if self.is_synthetic() {
            say(&style.yellow(super::run::SYNTHETIC));
        }
    }
}

fn names_a_seed(arguments: &ModelArguments) -> bool {
    arguments.variant.as_ref().is_some_and(|name| name.contains('#'))
}

/// Whether a user means an instance by `V4`, `V4#3`, `popularity` or `evaluate@V4#3`.
fn is_named(id: &InstanceId, wanted: &str) -> bool {
    let without_seed = InstanceId { seed: None, ..id.clone() };
    [id, &without_seed].iter().any(|id| id.label() == wanted || id.to_string() == wanted)
}

fn no_variant(wanted: &str, all: &[(usize, &Instance)], names: &[&str]) -> Mistake {
    let name = wanted.split_once('#').map_or(wanted, |(name, _)| name);
    let of_name = all.iter().filter(|(_, instance)| is_named(&InstanceId { seed: None, ..instance.id.clone() }, name));
    let seeds: Vec<String> = of_name.filter_map(|(_, instance)| Some(instance.id.seed?.to_string())).collect();
    if name != wanted && !seeds.is_empty() {
        let mistake = Mistake::new(format!("the pipeline evaluates no `{wanted}`"));
        return mistake.hint(format!("the seeds of {name} are {}", seeds.join(", ")));
    }
    Mistake::new(format!("the pipeline evaluates no variant `{wanted}`"))
        .hint(format!("there are {}", names.join(", ")))
}

/// The first of these results that is not the one that a run would use now.
fn outdated(
    project: &Project,
    arguments: &ModelArguments,
    results: [&Resolved; 2],
    global: &Global,
) -> anyhow::Result<Option<InstanceId>> {
    let ids = results.map(|resolved| resolved.id.clone());
    let options = project.plan_options(&arguments.reading, &[], &[]);
    let found = engine::outdated(&project.pipeline, &project.store, &ids, &options).map_err(project::refused)?;
    project::say_warnings(&found.warnings, &project.store, Style::of_stderr(global.color));
    Ok(found.first)
}

fn name_of(instance: &Instance) -> &str {
    instance.id.variant.as_deref().unwrap_or(&instance.id.stage)
}

/// The first variant of the leaderboard that was made last.
fn best(project: &Project) -> Option<String> {
    let has_board = |instance: &&Instance| instance.stage.outputs().iter().any(|port| port.name == "leaderboard");
    let boards = project.pipeline.instances.iter().filter(has_board);
    boards.into_iter().find_map(|board| {
        let resolved = project.resolve(&board.id.to_string()).ok()?;
        let table = read_parquet(&resolved.path, Some(&["variant".to_owned()])).ok()?;
        let names = table.strings("variant").ok()?;
        (names.len() > 0 && names.is_valid(0)).then(|| names.value(0).to_owned())
    })
}

/// The result that an input means.
fn find(project: &Project, source: &Source) -> Result<Resolved, EngineError> {
    let mut id = project.pipeline.instances[source.instance].id.clone();
    id.stage = format!("{}.{}", id.stage, source.output);
    project.resolve(&id.to_string())
}

/// The nearest result above an instance that fits.
fn above(project: &Project, index: usize, fits: &dyn Fn(&Resolved) -> bool) -> Option<Resolved> {
    let mut seen = std::collections::BTreeSet::from([index]);
    let mut queue = std::collections::VecDeque::from([index]);
    while let Some(index) = queue.pop_front() {
        for source in project.pipeline.instances[index].inputs.values().flatten() {
            if let Some(found) = find(project, source).ok().filter(|resolved| fits(resolved)) {
                return Some(found);
            }
            if seen.insert(source.instance) {
                queue.push_back(source.instance);
            }
        }
    }
    None
}

/// A table with artists and titles, else one with either: above the model, else
/// anywhere in the pipeline, the latest stage first.
fn titles_of(project: &Project, index: usize) -> Option<Resolved> {
    let has_title = |table: &Resolved| TITLES.iter().any(|name| table.has(name));
    let both = |table: &Resolved| table.has("item_id") && table.has("artist") && has_title(table);
    let either = |table: &Resolved| table.has("item_id") && (table.has("artist") || has_title(table));
    let anywhere = |fits: &dyn Fn(&Resolved) -> bool| {
        let instances = project.pipeline.instances.iter().rev();
        let made = |instance: &Instance| project.resolve(&instance.id.to_string()).ok().filter(|table| fits(table));
        instances.into_iter().find_map(made)
    };
    let near = above(project, index, &both).or_else(|| above(project, index, &either));
    near.or_else(|| anywhere(&both)).or_else(|| anywhere(&either))
}

trait Columns {
    fn has(&self, column: &str) -> bool;
}

impl Columns for Resolved {
    fn has(&self, column: &str) -> bool {
        self.artifact.columns.iter().any(|known| known.name == column)
    }
}

impl Titles {
    fn read(resolved: &Resolved) -> anyhow::Result<Self> {
        let title = TITLES.iter().find(|name| resolved.has(name)).copied();
        let artist = resolved.has("artist").then_some("artist");
        let columns: Vec<String> = ["item_id"].into_iter().chain(artist).chain(title).map(str::to_owned).collect();
        let table = read_parquet(&resolved.path, Some(&columns))?;
        let ids = table.strings("item_id")?;
        let texts = [artist, title].map(|column| column.map(|column| table.strings(column)).transpose());
        let [artists, titles] = texts;
        let texts = [artists?, titles?];
        let mut names = BTreeMap::new();
        for row in (0..table.rows()).filter(|row| ids.is_valid(*row)) {
            let text = |at: usize| {
                let column = texts[at].as_ref().filter(|column| column.is_valid(row));
                column.map(|column| column.value(row).to_owned()).unwrap_or_default()
            };
            names.entry(ids.value(row).to_owned()).or_insert_with(|| [text(0), text(1)]);
        }
        Ok(Self { names, has: [artist.is_some(), title.is_some()] })
    }

    /// An item's artist and title, empty where they are not known.
    pub(super) fn of(&self, item: &str) -> [&str; 2] {
        self.names.get(item).map_or(["", ""], |[artist, title]| [artist, title])
    }

    /// `artist - title`, or whichever is known, or the id.
    pub(super) fn line(&self, item: &str) -> String {
        match self.of(item) {
            ["", ""] => item.to_owned(),
            [artist, ""] => artist.to_owned(),
            ["", title] => title.to_owned(),
            [artist, title] => format!("{artist} - {title}"),
        }
    }

    /// The items among `known` that a name means, in their order: `artist - title`, a title
    /// or an artist, however it is spelt in case, accents and punctuation.
    pub(super) fn named<'a>(&self, name: &str, known: &'a [String]) -> Vec<&'a str> {
        let form = |text: &str| normal(text, Normalise::Loose);
        let (whole, parts) = (form(name), name.split_once(" - ").map(|(artist, title)| [form(artist), form(title)]));
        let means = |item: &&String| {
            let [artist, title] = self.of(item);
            match &parts {
                Some(parts) if form(artist) == parts[0] && form(title) == parts[1] => true,
                _ => !whole.is_empty() && (form(title) == whole || (title.is_empty() && form(artist) == whole)),
            }
        };
        known.iter().filter(means).map(String::as_str).collect()
    }
}

/// The values of a column of text, or empty ones.
pub(super) fn texts(table: &Table, column: &str) -> anyhow::Result<Vec<String>> {
    let values = table.strings(column)?;
    Ok(values.iter().map(|value| value.unwrap_or_default().to_owned()).collect())
}

/// What both commands can be told.
#[derive(Debug, clap::Args)]
pub(super) struct ModelArguments {
    /// The pipeline, if not the default one
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) reading: super::arguments::Reading,
    /// The variant whose model is used, or the stage that evaluates it; the best of the leaderboard by default
    #[arg(long, value_name = "NAME[#SEED]")]
    pub(super) variant: Option<String>,
    /// How many to list
    #[arg(short, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) k: u32,
    /// The stage whose table says what items are called (`item_id`, `artist`, `title`)
    #[arg(long, value_name = "STAGE")]
    pub(super) titles: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl ModelArguments {
    /// What to type to do something to a stage of the same pipeline: `refrain why FILE STAGE`.
    fn command(&self, command: &str, stage: &str) -> String {
        let file = self.file.as_ref().map(|file| format!(" {}", file.display())).unwrap_or_default();
        let set: Vec<String> = self.reading.set.iter().map(|(name, value)| format!(" --set {name}={value}")).collect();
        let set = set.concat();
        let sandbox = match self.reading.sandbox.as_deref() {
            None => String::new(),
            Some("") => " --sandbox".to_owned(),
            Some(url) => format!(" --sandbox={url}"),
        };
        format!("refrain {command}{file} {stage}{set}{sandbox}")
    }

    /// An engine's refusal; what is not made yet comes with the run that makes all that is needed.
    fn refused(&self, error: EngineError, needed: &str) -> anyhow::Error {
        if !matches!(error, EngineError::NotMade { .. }) {
            return project::refused(error);
        }
        let hint = format!("make it with `{}`", self.command("run", &format!("--target {needed}")));
        Mistake::new(error.to_string()).hint(hint).because(error).into()
    }
}
