//! The results of a pipeline as tables of a query: which artifacts a name
//! means, and what stands in them.

use super::errors::Mistake;
use super::project::{self, Project};
use crate::engine::{self, EngineError, Resolved};
use crate::store::ColumnFacts;
use crate::table::{Label, QueryPart, QueryTable};

/// Tables that have been opened for a query.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) tables: Vec<QueryTable>,
    /// Whether one was made from a sandbox's world.
    pub(super) synthetic: bool,
    /// What the user should know of them.
    pub(super) warnings: Vec<String>,
}

/// Opens what a query names: the last result of an instance, or of several one
/// after the other.
///
/// # Errors
/// If a name means nothing, or what it means has not been made or does not fit together.
pub(super) fn open(project: &Project, names: &[String]) -> anyhow::Result<Opened> {
    let mut opened = Opened::default();
    let mut missing = Vec::new();
    for name in names {
        let found = engine::resolve_all(&project.pipeline, &project.store, project.remote.as_ref(), name)
            .map_err(project::refused)?;
        let several = found.len() > 1;
        let mut made = Vec::new();
        let mut not_made = Vec::new();
        for (reference, resolved) in found {
            match resolved {
                Ok(resolved) => made.push((reference, resolved)),
                Err(EngineError::NotMade { .. }) => not_made.push(reference),
                Err(error) => return Err(project::refused(error)),
            }
        }
        if made.is_empty() {
            missing.push(name.as_str());
            continue;
        }
        if !not_made.is_empty() {
            let which = not_made.join(", ");
            opened.warnings.push(format!("`{name}` is without {which}: not made yet"));
        }
        opened.synthetic |= made.iter().any(|(_, resolved)| resolved.sandbox.is_some());
        opened.tables.push(table(name, &made, several)?);
    }
    if missing.is_empty() { Ok(opened) } else { Err(not_made(&missing).into()) }
}

fn not_made(missing: &[&str]) -> Mistake {
    let names = missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
    let has = if missing.len() == 1 { "has" } else { "have" };
    let targets = missing.iter().map(|name| format!("--target '{name}'")).collect::<Vec<_>>().join(" ");
    let them = if missing.len() == 1 { "it" } else { "them" };
    Mistake::new(format!("{names} {has} not been made yet")).hint(format!("make {them} with `refrain run {targets}`"))
}

/// One table of all that a name means. Where that is several instances, columns
/// before the others say which.
fn table(name: &str, made: &[(String, Resolved)], several: bool) -> Result<QueryTable, Mistake> {
    let [(first, of_first), others @ ..] = made else { return Err(not_made(&[name])) };
    for (other, resolved) in others {
        if signature(&resolved.artifact.columns) != signature(&of_first.artifact.columns) {
            return Err(other_columns(name, (first, of_first), (other, resolved)));
        }
    }
    let repeated = |of: fn(&Resolved) -> bool| several && made.iter().any(|(_, resolved)| of(resolved));
    let by_variant = repeated(|resolved| resolved.id.variant.is_some());
    let by_seed = repeated(|resolved| resolved.id.seed.is_some());
    let labels = |resolved: &Resolved| {
        let variant = by_variant.then(|| ("variant", Label::Text(resolved.id.variant.clone())));
        let seed = by_seed.then(|| ("seed", Label::Whole(resolved.id.seed.and_then(|seed| i64::try_from(seed).ok()))));
        variant.into_iter().chain(seed).collect::<Vec<_>>()
    };
    let labelled = labels(of_first);
    let own = of_first.artifact.columns.iter().map(|column| column.name.as_str());
    if let Some(twice) = own.clone().find(|own| labelled.iter().any(|(label, _)| label == own)) {
        let mistake = Mistake::new(format!("`{name}` is several results that have a column `{twice}` of their own"));
        return Err(mistake.hint(format!("name one of them: \"{first}\"")));
    }
    let columns = labelled.iter().map(|(label, _)| *label).chain(own).map(str::to_owned).collect();
    let part = |(_, resolved): &(String, Resolved)| QueryPart { path: resolved.path.clone(), labels: labels(resolved) };
    let rows = made.iter().map(|(_, resolved)| resolved.artifact.rows).sum();
    Ok(QueryTable { name: name.to_owned(), parts: made.iter().map(part).collect(), columns, rows, row_number: None })
}

fn signature(columns: &[ColumnFacts]) -> Vec<(&str, &str)> {
    columns.iter().map(|column| (column.name.as_str(), column.data_type.as_str())).collect()
}

fn other_columns(name: &str, (first, of_first): (&str, &Resolved), (other, of_other): (&str, &Resolved)) -> Mistake {
    let told = |columns: &[ColumnFacts], others: &[ColumnFacts]| {
        let others = signature(others);
        let own = signature(columns).into_iter().filter(|column| !others.contains(column));
        let own = own.map(|(name, kind)| format!("{name}: {kind}")).collect::<Vec<_>>().join(", ");
        if own.is_empty() { "nothing else".to_owned() } else { own }
    };
    let (first_columns, other_columns) = (&of_first.artifact.columns, &of_other.artifact.columns);
    let what = format!(
        "the results that `{name}` means have different columns: {first} has {}, {other} has {}",
        told(first_columns, other_columns),
        told(other_columns, first_columns)
    );
    Mistake::new(what).hint(format!("name one of them: \"{first}\""))
}

/// A table that can be asked, for the list of them.
pub(super) struct Listed {
    /// Its name, in quotes where a query needs them.
    pub(super) name: String,
    /// How many instances it is, and how many of these have been made.
    pub(super) instances: usize,
    pub(super) made: usize,
    pub(super) rows: u64,
    pub(super) columns: Vec<String>,
}

/// All tables that can be asked, in the order of the stages.
///
/// # Errors
/// If the store cannot be read.
pub(super) fn list(project: &Project) -> anyhow::Result<Vec<Listed>> {
    let mut listed: Vec<Listed> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for instance in &project.pipeline.instances {
        for (place, output) in instance.stage.outputs().iter().enumerate() {
            let stage = &instance.id.stage;
            let name = if place == 0 { stage.clone() } else { format!("{stage}.{}", output.name) };
            if !seen.insert(name.clone()) {
                continue;
            }
            // A list fetches nothing.
            let found =
                engine::resolve_all(&project.pipeline, &project.store, None, &name).map_err(project::refused)?;
            let instances = found.len();
            let made: Vec<Resolved> = found.into_iter().filter_map(|(_, resolved)| resolved.ok()).collect();
            let of_first = made.first().map(|resolved| resolved.artifact.columns.as_slice()).unwrap_or_default();
            listed.push(Listed {
                name: quoted(&name),
                instances,
                made: made.len(),
                rows: made.iter().map(|resolved| resolved.artifact.rows).sum(),
                columns: of_first.iter().map(|column| column.name.clone()).collect(),
            });
        }
    }
    Ok(listed)
}

/// A name as a query must spell it.
fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { name.to_owned() } else { format!("\"{name}\"") }
}
