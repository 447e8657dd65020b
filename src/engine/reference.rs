//! What a user means by `stage`, `stage.output`, `stage@VARIANT` or
//! `stage@VARIANT#SEED` on the command line.

use std::collections::BTreeSet;

use super::error::EngineError;
use crate::ground::{InstanceId, closest};
use crate::pipeline::{Instance, Pipeline};
use crate::stage::OutputPort;

/// A reference taken apart. What is not given matches everything.
#[derive(Debug, PartialEq, Eq)]
struct Reference<'a> {
    stage: &'a str,
    output: Option<&'a str>,
    variant: Option<&'a str>,
    seed: Option<&'a str>,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Self {
        let (rest, seed) = split(text, '#');
        let (rest, variant) = split(rest, '@');
        let (stage, output) = split(rest, '.');
        Self { stage, output, variant: variant.filter(|name| *name != "*"), seed }
    }

    fn matches(&self, id: &InstanceId) -> bool {
        self.stage == id.stage
            && self.variant.is_none_or(|variant| id.variant.as_deref() == Some(variant))
            && self.seed.is_none_or(|seed| id.seed.is_some_and(|own| own.to_string() == seed))
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// The instances that a reference means, as indices; at least one.
///
/// # Errors
/// [`EngineError::NoSuchReference`].
pub(super) fn matching(pipeline: &Pipeline, text: &str) -> Result<Vec<usize>, EngineError> {
    let reference = Reference::parse(text);
    let of_stage: Vec<&Instance> = pipeline.instances.iter().filter(|i| i.id.stage == reference.stage).collect();
    let refused = |what, hint: String| Err(EngineError::NoSuchReference { what, reference: text.to_owned(), hint });
    if of_stage.is_empty() {
        let names: BTreeSet<&str> = pipeline.instances.iter().map(|i| i.id.stage.as_str()).collect();
        return refused("stage", suggestion(reference.stage, &names, "stages"));
    }
    let found =
        (0..pipeline.instances.len()).filter(|&i| reference.matches(&pipeline.instances[i].id)).collect::<Vec<_>>();
    if found.is_empty() {
        let names: BTreeSet<String> = of_stage.iter().map(|i| i.id.to_string()).collect();
        return refused(
            "stage",
            suggestion(text, &names.iter().map(String::as_str).collect(), "instances of this stage"),
        );
    }
    if let Some(output) = reference.output {
        let ports: Vec<OutputPort> = of_stage.iter().flat_map(|i| i.stage.outputs()).collect();
        let names: BTreeSet<&str> = ports.iter().map(|port| &*port.name).collect();
        if !names.contains(output) {
            return refused("output", suggestion(output, &names, "outputs of this stage"));
        }
    }
    Ok(found)
}

/// The instances that a reference means, and the output it names.
///
/// # Errors
/// [`EngineError::NoSuchReference`].
pub(super) fn all<'a>(pipeline: &Pipeline, text: &'a str) -> Result<(Vec<usize>, Option<&'a str>), EngineError> {
    Ok((matching(pipeline, text)?, Reference::parse(text).output))
}

/// The one instance that a reference means, and the output it names.
///
/// # Errors
/// [`EngineError::NoSuchReference`] or [`EngineError::Ambiguous`].
pub(super) fn single<'a>(pipeline: &Pipeline, text: &'a str) -> Result<(usize, Option<&'a str>), EngineError> {
    let found = matching(pipeline, text)?;
    match found.as_slice() {
        [one] => Ok((*one, Reference::parse(text).output)),
        many => Err(EngineError::Ambiguous {
            reference: text.to_owned(),
            candidates: many.iter().map(|&i| pipeline.instances[i].id.to_string()).collect(),
        }),
    }
}

fn suggestion(given: &str, names: &BTreeSet<&str>, what: &str) -> String {
    closest(given, names.iter().copied()).map_or_else(
        || format!("the {what} are {}", names.iter().copied().collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean `{near}`?"),
    )
}

/// The instances named by `targets` and `force` with all they need, in
/// topological order; everything if no target is given. Also which are forced.
///
/// # Errors
/// [`EngineError::NoSuchReference`].
pub(super) fn wanted(
    pipeline: &Pipeline,
    targets: &[String],
    force: &[String],
) -> Result<(Vec<usize>, BTreeSet<usize>), EngineError> {
    let all = |references: &[String]| -> Result<BTreeSet<usize>, EngineError> {
        let found = references.iter().map(|text| matching(pipeline, text)).collect::<Result<Vec<_>, _>>()?;
        Ok(found.into_iter().flatten().collect())
    };
    let (mut reached, forced) = (all(targets)?, all(force)?);
    if targets.is_empty() {
        return Ok(((0..pipeline.instances.len()).collect(), forced));
    }
    reached.extend(&forced);
    // Producers stand before their readers, so one pass from the end reaches all.
    for index in (0..pipeline.instances.len()).rev() {
        if reached.contains(&index) {
            reached.extend(pipeline.instances[index].inputs.values().flatten().map(|source| source.instance));
        }
    }
    Ok((reached.into_iter().collect(), forced))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let parse = Reference::parse;
        assert_eq!(parse("a"), Reference { stage: "a", output: None, variant: None, seed: None });
        assert_eq!(
            parse("a.items@V2.1#3"),
            Reference { stage: "a", output: Some("items"), variant: Some("V2.1"), seed: Some("3") }
        );
        assert_eq!(parse("a@*"), parse("a"));
        assert_eq!(parse("a#1"), Reference { stage: "a", output: None, variant: None, seed: Some("1") });
    }

    #[test]
    fn what_is_not_given_matches_everything() {
        let id = InstanceId { stage: "a".into(), variant: Some("V1".into()), seed: Some(2) };
        assert!(["a", "a@V1", "a#2", "a.x@V1#2"].iter().all(|text| Reference::parse(text).matches(&id)));
        assert!(!["b", "a@V2", "a#1"].iter().any(|text| Reference::parse(text).matches(&id)));
    }
}
