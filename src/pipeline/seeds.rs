//! What rests on one random draw: of a model that was trained once nobody knows
//! how much its seed has to do with its numbers.

use std::collections::{BTreeMap, BTreeSet};

use super::Pipeline;

impl Pipeline {
    /// What must be said beside the verdicts of an instance, each of a variant
    /// and in words, where a model that was judged or the `baseline` was trained
    /// with one seed. None where nothing is `better` or `worse`.
    pub fn one_seed<'a>(&self, index: usize, verdicts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<String> {
        let once = self.drawn_once(index);
        let word = |verdict: &'a str| verdict.split(',').next().unwrap_or_default();
        let verdicts: Vec<(&str, &str)> = verdicts.into_iter().map(|(name, verdict)| (name, word(verdict))).collect();
        let is_judged = |verdict: &str| ["better", "worse"].contains(&verdict);
        if !verdicts.iter().any(|(_, verdict)| is_judged(verdict)) {
            return None;
        }
        let counts =
            |(name, verdict): &&(&str, &str)| (is_judged(verdict) || *verdict == "baseline") && once.contains(*name);
        let names: Vec<&str> = verdicts.iter().filter(counts).map(|(name, _)| *name).collect();
        (!names.is_empty()).then(|| {
            format!(
                "one seed: {} {} trained once, so `better` and `worse` are said of {} alone; more `seeds:` tell whether \
                 another training says the same",
                names.join(", "),
                if names.len() == 1 { "was" } else { "were each" },
                if names.len() == 1 { "that model" } else { "these models" },
            )
        })
    }

    /// Of what an instance reads, the labels without their seed that stand on a
    /// stage that draws random numbers, and that it has of one seed alone.
    fn drawn_once(&self, index: usize) -> BTreeSet<&str> {
        let mut drawn: Vec<bool> = Vec::with_capacity(self.instances.len());
        for instance in &self.instances {
            let mut sources = instance.inputs.values().flatten();
            let is_drawn = instance.stage.is_seeded() || sources.any(|source| drawn[source.instance]);
            drawn.push(is_drawn);
        }
        let mut instances: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for source in self.instances[index].inputs.values().flatten().filter(|source| drawn[source.instance]) {
            let label = source.label.split('#').next().unwrap_or_default();
            instances.entry(label).or_default().insert(source.instance);
        }
        instances.into_iter().filter(|(_, of)| of.len() == 1).map(|(label, _)| label).collect()
    }
}
