//! From checked stages to instances: repeats them per variant and seed, finds
//! who reads whom, drops what has no input, and puts all in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::check::{Draft, Drafts, PortInput};
use super::document::Document;
use super::order::{Edge, order};
use super::reference::{Reference, Selector};
use super::report::{Place, Report, suggest};
use super::{Instance, Source};
use crate::ground::InstanceId;
use crate::stage::Columns;

/// An instance before it is known whether it exists.
struct Candidate<'a> {
    stage: usize,
    variant: Option<usize>,
    seed: Option<u64>,
    draft: &'a Draft,
    /// The producers of each input, in the order of `draft.inputs`.
    producers: Vec<Vec<Producer>>,
    exists: bool,
}

struct Producer {
    candidate: usize,
    /// `None` where the producer's settings had problems.
    output: Option<String>,
    place: Place,
}

/// Which stages are repeated for what.
struct Repeats {
    per_variant: Vec<bool>,
    per_seed: Vec<bool>,
}

/// Makes the instances; the result means nothing if problems were reported.
pub(super) fn expand(document: &Document, all: &[Drafts], report: &mut Report) -> Vec<Instance> {
    let repeats = repeats(document, all);
    check_selectors(document, all, &repeats, report);
    let mut candidates = candidates(document, all, &repeats);
    link(document, &mut candidates, &repeats, report);
    drop_absent(&mut candidates);
    report_never(document, &candidates, &repeats, report);
    check_columns(document, &candidates, report);
    let name = |index: usize| {
        let id = id(document, &candidates[index]);
        (id.stage.clone(), id.to_string())
    };
    let edges: Vec<Vec<Edge>> = candidates.iter().map(|candidate| edges(&candidates, candidate)).collect();
    let sequence = order(&edges, &name, report);
    instances(document, &candidates, &sequence, report)
}

/// A stage is repeated per variant if it uses one itself or reads, for its own
/// variant, a stage that is; and per seed if it is seeded or reads one that is.
fn repeats(document: &Document, all: &[Drafts]) -> Repeats {
    let seeded =
        |drafts: &Drafts| drafts.drafts.iter().any(|draft| draft.stage.as_ref().is_some_and(|stage| stage.is_seeded()));
    let mut repeats = Repeats {
        per_variant: all.iter().map(|drafts| drafts.of_variants).collect(),
        per_seed: all.iter().map(|drafts| !document.seeds.is_empty() && seeded(drafts)).collect(),
    };
    // What a stage passes on to those that read it, from each stage that is repeated.
    let mut readers: Vec<Vec<(usize, bool, bool)>> = vec![Vec::new(); all.len()];
    for (stage, drafts) in all.iter().enumerate() {
        for (_, target, reference) in references(drafts) {
            readers[*target].push((stage, reference.selector == Selector::Own, reference.selector != Selector::All));
        }
    }
    let mut queue: Vec<usize> = (0..all.len()).collect();
    while let Some(target) = queue.pop() {
        for &(stage, passes_variant, passes_seed) in &readers[target] {
            let variant = passes_variant && repeats.per_variant[target] && !repeats.per_variant[stage];
            let seed = passes_seed && repeats.per_seed[target] && !repeats.per_seed[stage];
            repeats.per_variant[stage] |= variant;
            repeats.per_seed[stage] |= seed;
            if variant || seed {
                queue.push(stage);
            }
        }
    }
    repeats
}

fn references(drafts: &Drafts) -> impl Iterator<Item = &(Place, usize, Reference)> {
    drafts.drafts.iter().flat_map(|draft| &draft.inputs).flat_map(|input| &input.references)
}

fn check_selectors(document: &Document, all: &[Drafts], repeats: &Repeats, report: &mut Report) {
    for (place, target, reference) in all.iter().flat_map(references) {
        if let Selector::Variant(variant) = &reference.selector
            && !repeats.per_variant[*target]
        {
            let name = &document.stages[*target].name;
            report.hinted(
                *place,
                format!("`{name}@{variant}` does not exist: `{name}` is not repeated per variant"),
                format!("write `{name}`"),
            );
        }
    }
}

fn candidates<'a>(document: &Document, all: &'a [Drafts], repeats: &Repeats) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    for (stage, drafts) in all.iter().enumerate() {
        let variants = dimension(repeats.per_variant[stage], 0..document.variants.len());
        let seeds = dimension(repeats.per_seed[stage], document.seeds.iter().copied());
        for &variant in &variants {
            let Some(draft) = drafts.of(variant) else { continue };
            for &seed in &seeds {
                candidates.push(Candidate { stage, variant, seed, draft, producers: Vec::new(), exists: true });
            }
        }
    }
    candidates
}

fn dimension<T>(repeated: bool, values: impl Iterator<Item = T>) -> Vec<Option<T>> {
    if repeated { values.map(Some).collect() } else { vec![None] }
}

fn id(document: &Document, candidate: &Candidate<'_>) -> InstanceId {
    InstanceId {
        stage: document.stages[candidate.stage].name.clone(),
        variant: candidate.variant.map(|variant| document.variants[variant].name.clone()),
        seed: candidate.seed,
    }
}

/// Finds the producers of every input and which of their outputs is meant.
fn link(document: &Document, candidates: &mut [Candidate<'_>], repeats: &Repeats, report: &mut Report) {
    let index: BTreeMap<(usize, Option<usize>, Option<u64>), usize> =
        candidates.iter().enumerate().map(|(i, c)| ((c.stage, c.variant, c.seed), i)).collect();
    let linked: Vec<Vec<Vec<Producer>>> = candidates
        .iter()
        .map(|reader| {
            let producers_of = |input: &PortInput, report: &mut Report| {
                let mut producers = Vec::new();
                for (place, target, reference) in &input.references {
                    let own_variant = reader.variant.filter(|_| repeats.per_variant[*target]);
                    let seed = reader.seed.filter(|_| repeats.per_seed[*target]);
                    let found: Vec<usize> = match &reference.selector {
                        Selector::Own => index.get(&(*target, own_variant, seed)).copied().into_iter().collect(),
                        Selector::Variant(name) => {
                            let variant = document.variants.iter().position(|variant| variant.name == *name);
                            index.get(&(*target, variant, seed)).copied().into_iter().collect()
                        }
                        Selector::All => (0..candidates.len()).filter(|i| candidates[*i].stage == *target).collect(),
                    };
                    for candidate in found {
                        let output = output_of(document, &candidates[candidate], reference, *place, report);
                        producers.push(Producer { candidate, output, place: *place });
                    }
                }
                producers
            };
            reader.draft.inputs.iter().map(|input| producers_of(input, report)).collect()
        })
        .collect();
    for (candidate, producers) in candidates.iter_mut().zip(linked) {
        candidate.producers = producers;
    }
}

fn output_of(
    document: &Document,
    producer: &Candidate<'_>,
    reference: &Reference,
    place: Place,
    report: &mut Report,
) -> Option<String> {
    let outputs = producer.draft.stage.as_ref()?.outputs();
    match &reference.output {
        None => outputs.first().map(|port| port.name.clone().into_owned()),
        Some(name) if outputs.iter().any(|port| port.name == *name) => Some(name.clone()),
        Some(name) => {
            let what = format!("the stage `{}` has no output `{name}`", document.stages[producer.stage].name);
            report.hinted(place, what, suggest(name, "outputs it has", outputs.iter().map(|port| &*port.name)));
            None
        }
    }
}

/// Without a required input an instance does not exist, nor then do those that
/// require it.
fn drop_absent(candidates: &mut [Candidate<'_>]) {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); candidates.len()];
    for (reader, candidate) in candidates.iter().enumerate() {
        for producer in candidate.producers.iter().flatten() {
            readers[producer.candidate].push(reader);
        }
    }
    let mut queue: Vec<usize> = (0..candidates.len()).collect();
    while let Some(index) = queue.pop() {
        if candidates[index].exists && missing_input(candidates, &candidates[index]).is_some() {
            candidates[index].exists = false;
            queue.extend(&readers[index]);
        }
    }
}

/// The first required input for which nothing is left.
fn missing_input<'a>(candidates: &[Candidate<'_>], reader: &Candidate<'a>) -> Option<(&'a PortInput, usize)> {
    let inputs = reader.draft.inputs.iter().enumerate().map(|(position, input)| (input, position));
    let required = |input: &PortInput| !input.broken && input.port.as_ref().is_some_and(|port| port.required);
    let nothing =
        |position: usize| !reader.producers[position].iter().any(|producer| candidates[producer.candidate].exists);
    inputs.filter(|(input, _)| required(input)).find(|(_, position)| nothing(*position))
}

/// A stage that is not repeated and does not exist is a slip: it would be
/// passed over without a word.
fn report_never(document: &Document, candidates: &[Candidate<'_>], repeats: &Repeats, report: &mut Report) {
    for candidate in candidates.iter().filter(|c| !c.exists && !repeats.per_variant[c.stage]) {
        let Some((input, position)) = missing_input(candidates, candidate) else { continue };
        let producers = &candidate.producers[position];
        if producers.is_empty() && !input.references.is_empty() {
            continue; // Reported for the reference.
        }
        if producers.iter().any(|producer| !repeats.per_variant[candidates[producer.candidate].stage]) {
            continue; // Reported for the producer.
        }
        let name = &document.stages[candidate.stage].name;
        let what = format!("the stage `{name}` can never run: its input `{}` is never there", input.name);
        let names: BTreeSet<String> =
            producers.iter().map(|p| id(document, &candidates[p.candidate]).to_string()).collect();
        let hint = if names.is_empty() {
            format!("`{}` is required: name a stage", input.name)
        } else {
            let names: Vec<_> = names.into_iter().collect();
            format!("a required input of {} is `none`", names.join(", "))
        };
        report.hinted(input.place, what, hint);
    }
}

/// Where both sides say their columns, what is read must be written.
fn check_columns(document: &Document, candidates: &[Candidate<'_>], report: &mut Report) {
    for reader in candidates {
        for (input, producers) in reader.draft.inputs.iter().zip(&reader.producers) {
            let columns = input.port.as_ref().map(|port| &port.columns);
            let Some(Columns::Named(needed) | Columns::NamedAndOptional(needed, _)) = columns else { continue };
            for producer in producers {
                let from = &candidates[producer.candidate];
                let outputs = from.draft.stage.as_ref().map(|stage| stage.outputs()).unwrap_or_default();
                let Some(port) = outputs.iter().find(|port| producer.output.as_deref() == Some(&*port.name)) else {
                    continue;
                };
                let written: Vec<&str> = port.columns.iter().map(|(name, _)| name.as_str()).collect();
                let lacking: Vec<String> = needed
                    .iter()
                    .filter(|name| !written.contains(&name.as_str()))
                    .map(|name| format!("`{name}`"))
                    .collect();
                if written.is_empty() || lacking.is_empty() {
                    continue;
                }
                let (reader, from) = (&document.stages[reader.stage].name, &document.stages[from.stage].name);
                let noun = if lacking.len() == 1 { "column" } else { "columns" };
                let what = format!(
                    "the stage `{reader}` needs the {noun} {} in its input `{}`, and `{from}` does not write {}",
                    lacking.join(", "),
                    input.name,
                    if lacking.len() == 1 { "it" } else { "them" },
                );
                report.hinted(
                    producer.place,
                    what,
                    format!("the columns of `{from}.{}` are {}", port.name, written.join(", ")),
                );
            }
        }
    }
}

/// What an instance that exists reads of those that exist.
fn edges(candidates: &[Candidate<'_>], reader: &Candidate<'_>) -> Vec<Edge> {
    let producers = reader.producers.iter().flatten().filter(|p| reader.exists && candidates[p.candidate].exists);
    producers.map(|producer| Edge { from: producer.candidate, place: producer.place }).collect()
}

fn instances(
    document: &Document,
    candidates: &[Candidate<'_>],
    sequence: &[usize],
    report: &mut Report,
) -> Vec<Instance> {
    let sequence: Vec<usize> = sequence.iter().copied().filter(|index| candidates[*index].exists).collect();
    let position: BTreeMap<usize, usize> =
        sequence.iter().enumerate().map(|(at, candidate)| (*candidate, at)).collect();
    let mut instances = Vec::new();
    for index in &sequence {
        let candidate = &candidates[*index];
        let shell = &document.stages[candidate.stage];
        let (Some(kind), Some(stage)) = (shell.kind, candidate.draft.stage.as_ref()) else { continue };
        let mut inputs = BTreeMap::new();
        for (input, producers) in candidate.draft.inputs.iter().zip(&candidate.producers) {
            let sources = sources(document, candidates, &position, input, producers, report);
            if !sources.is_empty() {
                inputs.insert(input.name.clone(), sources);
            }
        }
        instances.push(Instance {
            id: id(document, candidate),
            kind,
            stage: Arc::clone(stage),
            inputs,
            refresh: shell.refresh,
            shards: shell.shards.map_or(1, |(shards, _)| shards.get()),
            location: report.location(shell.place),
            seed: candidate.seed.unwrap_or(document.seed),
        });
    }
    instances
}

/// The sources of one port in the order of their labels, which are made longer
/// until they differ.
fn sources(
    document: &Document,
    candidates: &[Candidate<'_>],
    position: &BTreeMap<usize, usize>,
    input: &PortInput,
    producers: &[Producer],
    report: &mut Report,
) -> Vec<Source> {
    let present: Vec<(InstanceId, usize, &str, Place)> = producers
        .iter()
        .filter_map(|producer| {
            let at = *position.get(&producer.candidate)?;
            Some((id(document, &candidates[producer.candidate]), at, producer.output.as_deref()?, producer.place))
        })
        .collect();
    let mut sources: Vec<Source> = Vec::new();
    for (id, at, output, place) in &present {
        if sources.iter().any(|source| source.instance == *at && source.output == *output) {
            let what = format!("the input `{}` names `{id}` twice", input.name);
            report.hinted(*place, what, "remove one of the two");
            continue;
        }
        let same_label =
            present.iter().filter(|other| other.0.label() == id.label() && (other.1, other.2) != (*at, output)).count();
        let same_instance = present.iter().filter(|other| other.1 == *at && other.2 != *output).count();
        let label = match (same_label, same_instance) {
            (0, _) => id.label(),
            (_, 0) => id.to_string(),
            _ => format!("{id}.{output}"),
        };
        sources.push(Source { label, instance: *at, output: (*output).to_owned() });
    }
    sources.sort();
    sources
}
