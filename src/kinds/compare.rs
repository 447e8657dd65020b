//! `compare`: the leaderboard over variants, baselines and seeds.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, StringArray};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::leaderboard::{Entry, Measured, leaderboard};
use super::per_user::{PerUser, Sampling, sentence};
use crate::metrics::{Interval, PERMUTATIONS, RESAMPLES};
use crate::stage::{
    Input, InputPort, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind,
    decode_settings, schema_of, settings_value,
};
use crate::table::{Table, complete};

/// The kind.
pub(crate) struct Compare;

/// What `compare` can be told.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The k of the columns, one that `evaluate` measured; 10 by default.
    #[serde(default = "default_k")]
    k: u32,
    /// The part that is compared: `test` (default) or `validation`.
    #[serde(default)]
    part: ComparedPart,
    /// The variant that the others are held against; without one there are no verdicts.
    #[serde(default)]
    baseline: Option<String>,
    /// Resamples of each interval, at least 1; 2000 by default.
    #[serde(default = "default_resamples")]
    resamples: u32,
    /// Sign flips of each test, at least 1; 10000 by default.
    #[serde(default = "default_permutations")]
    permutations: u32,
    /// What of a variant's gain over a base is left without a part of it.
    #[serde(default)]
    ablations: Vec<Ablation>,
}

/// Three variants to hold against each other.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ablation {
    /// The whole variant.
    variant: String,
    /// The same without the part in question.
    without: String,
    /// What both are held against.
    base: String,
}

impl Ablation {
    fn names(&self) -> [&str; 3] {
        [&self.variant, &self.without, &self.base]
    }
}

fn default_resamples() -> u32 {
    RESAMPLES
}

fn default_permutations() -> u32 {
    PERMUTATIONS
}

fn default_k() -> u32 {
    10
}

/// The part whose metrics are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ComparedPart {
    /// Each user's last item.
    #[default]
    Test,
    /// Each user's last item but one.
    Validation,
}

impl StageKind for Compare {
    fn name(&self) -> &'static str {
        "compare"
    }

    fn version(&self) -> u32 {
        3
    }

    fn summary(&self) -> &'static str {
        "Put the metrics of all variants side by side, best first"
    }

    fn documentation(&self) -> &'static str {
        "Reads `metrics`, a list of tables written by `evaluate`, and `ranks`, the same list of its second output. \
         Without `ranks` there are neither intervals nor verdicts nor ablations. `audit` is what `audit_split` wrote of the \
         split that all of it was measured on: with it there is no leaderboard of a split that was not audited.\n\n\
         Writes `leaderboard`, sorted by `ndcg@K` and then `hr@K`, best first, then by name:\n\n\
         - `variant`: the label before `#`; the stage's name where it has no variant.\n\
         - `seeds`: how many.\n\
         - `hr@K`, `ndcg@K`, `warm_hr@K`, `cold_hr@K`: means over the targets, then over the seeds.\n\
         - `hr@K_low`, `hr@K_high`, `ndcg@K_low`, `ndcg@K_high`: 95 % percentile intervals of a bootstrap that draws \
         users and seeds with replacement; a user brings all its targets. With one seed they know nothing of how seeds \
         differ.\n\
         - `hr@K_sd`, `ndcg@K_sd`: sample standard deviations over the seeds, null for one.\n\
         - `p`: of a two-sided paired sign-flip test on NDCG@K of each user (averaged over targets and seeds) against the \
         `baseline`, corrected after Holm for how many are compared.\n\
         - `mrr`, `recall@K`, `coverage@K`, `popularity@K`: as `evaluate` measured them, means over the seeds; the last two \
         for `part: test` alone.\n\
         - `verdict`: `better` or `worse` where p is 0.05 or less, else `not distinguishable`; `baseline`. A model whose epoch was picked on the test set has `picked on test` \
         in its verdict.\n\
         - `on_test`: whether its epoch was picked on the test set.\n\
         - `users`: of the first seed.\n\n\
         Writes `ablation`, a row for each of `ablations`, on HR@K: `gain` of `variant` over `base`, `remaining` of \
         `without` over `base`, `share` of the two with its interval (null where the gain's own interval holds 0), and \
         `words`.\n\n\
         Warns where NDCG@K on validation lies above the test interval by more than the interval's width. \
         Deterministic: every draw is from a seed that never changes."
    }

    fn example(&self) -> &'static str {
        "kind: compare\ninputs:\n  metrics: [\"evaluate@*\", popularity]\n  ranks: [\"evaluate.ranks@*\", popularity.ranks]\n  audit: audit\nwith: { k: 10, \
         baseline: popularity }"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        let settings: Settings = decode_settings(with)?;
        let counts = [("resamples", settings.resamples), ("permutations", settings.permutations)];
        let none = |(path, _): (&str, u32)| SettingProblem::new(path, format!("`{path}` must be at least 1"));
        let problems: Vec<_> = counts.into_iter().filter(|(_, count)| *count == 0).map(none).collect();
        if problems.is_empty() { Ok(Arc::new(Checked { settings })) } else { Err(problems) }
    }
}

struct Checked {
    settings: Settings,
}

/// The numbers of an ablation.
const ABLATION: [&str; 5] = ["gain", "remaining", "share", "share_low", "share_high"];

#[async_trait]
impl Stage for Checked {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![
            InputPort::new("metrics", ["part", "slice", "metric", "k", "value", "users"]).many(),
            InputPort::new("ranks", ["user_id", "part", "rank"]).many().optional(),
            InputPort::new("audit", ["check", "holds"]).optional(),
        ]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        let texts = ["variant", "without", "base"].map(|name| (name, "str"));
        let numbers = ABLATION.map(|name| (name, "f64"));
        let ablation: Vec<_> = texts.into_iter().chain(numbers).chain([("words", "str")]).collect();
        vec![
            OutputPort {
                name: "leaderboard".into(),
                columns: self.measured().columns(),
                key: vec!["variant".to_owned()],
            },
            OutputPort::new("ablation", &ablation).keyed_by(&["variant", "without", "base"]),
        ]
    }

    fn resource(&self) -> Resource {
        Resource::Cpu(0)
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        if let Some(audit) = context.input("audit") {
            check_audit(audit)?;
        }
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for input in context.inputs.get("metrics").into_iter().flatten() {
            entries.entry(variant(&input.label)).or_default().read(input, &self.measured())?;
        }
        let ranks = context.inputs.get("ranks").map(Vec::as_slice).unwrap_or_default();
        let mut all: BTreeMap<String, PerUser> = BTreeMap::new();
        for input in ranks {
            all.entry(variant(&input.label)).or_default().add(input, self.part(), self.settings.k)?;
        }
        if ranks.is_empty() && (self.settings.baseline.is_some() || !self.settings.ablations.is_empty()) {
            context.progress.warn("without the input `ranks` there are neither verdicts nor ablations");
        }
        self.judge(context, &mut entries, &all)?;
        context.write("leaderboard", &leaderboard(entries, &self.measured())?)?;
        context.write("ablation", &self.ablations(context, &all)?)
    }
}

/// The variant of a label: what stands before the seed.
fn variant(label: &str) -> String {
    label.split_once('#').map_or(label, |(variant, _)| variant).to_owned()
}

/// That every check of an audit holds.
fn check_audit(input: &Input) -> Result<(), StageError> {
    let table = input.table()?;
    let checks = complete("check", table.strings("check")?)?;
    let holds = table.column("holds")?;
    let holds = holds.as_any().downcast_ref::<BooleanArray>();
    let fails = |row: &usize| holds.is_none_or(|holds| holds.is_null(*row) || !holds.value(*row));
    let Some(row) = (0..table.rows()).find(fails) else { return Ok(()) };
    let what = format!("the check `{}` of the audit `{}` does not hold", checks.value(row), input.label);
    Err(StageError::with_hint(what, "nothing that is measured on this split can be trusted"))
}

impl Checked {
    fn measured(&self) -> Measured {
        Measured { part: self.part(), k: self.settings.k }
    }

    fn part(&self) -> &'static str {
        if self.settings.part == ComparedPart::Test { "test" } else { "validation" }
    }

    fn sampling(&self, context: &StageContext) -> Sampling {
        let Settings { resamples, permutations, .. } = self.settings;
        Sampling { seed: context.seed, resamples, permutations }
    }

    /// Gives the entries their intervals and verdicts, as far as there are ranks.
    fn judge(
        &self,
        context: &StageContext,
        entries: &mut BTreeMap<String, Entry>,
        all: &BTreeMap<String, PerUser>,
    ) -> Result<(), StageError> {
        let sampling = self.sampling(context);
        for (name, entry) in entries.iter_mut() {
            context.check_cancelled()?;
            let Some(sample) = all.get(name) else { continue };
            entry.hr = sampling.interval(&sample.hr, sample);
            entry.ndcg = sampling.interval(&sample.ndcg, sample);
            if let Some([validation, test]) = sample.flattering(&sampling) {
                context.progress.warn(&format!(
                    "{name}: NDCG@{k} is {validation:.4} on validation and {test:.4} on test, further apart than chance \
                     makes them: what was chosen on validation does not carry over, or the negatives of the training \
                     give the validation items away (negatives_exclude: train)",
                    k = self.settings.k
                ));
            }
        }
        if let Some(baseline) = self.settings.baseline.as_deref().filter(|_| !all.is_empty()) {
            for (name, verdict) in sampling.verdicts(all, baseline)? {
                if let Some(entry) = entries.get_mut(&name) {
                    entry.verdict = Some(verdict);
                }
            }
        }
        Ok(())
    }

    fn ablations(&self, context: &StageContext, all: &BTreeMap<String, PerUser>) -> Result<Table, StageError> {
        let asked: Vec<&Ablation> = self.settings.ablations.iter().filter(|_| !all.is_empty()).collect();
        let mut numbers: [Vec<Option<f64>>; ABLATION.len()] = Default::default();
        let mut words = Vec::new();
        for ablation in &asked {
            context.check_cancelled()?;
            let left = self.sampling(context).remainder(all, ablation.names())?;
            words.push(sentence(ablation.names(), self.settings.k, &left));
            let share = |pick: fn(Interval) -> f64| left.share.map(pick);
            let row = [Some(left.gain), Some(left.remaining), share(|s| s.value), share(|s| s.low), share(|s| s.high)];
            numbers.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        for line in &words {
            context.progress.note(line);
        }
        let text = |pick: fn(&Ablation) -> &String| -> ArrayRef {
            Arc::new(asked.iter().map(|ablation| Some(pick(ablation))).collect::<StringArray>())
        };
        let names = [text(|a| &a.variant), text(|a| &a.without), text(|a| &a.base)];
        let numbers = numbers.map(|column| Arc::new(Float64Array::from(column)) as ArrayRef);
        let mut columns: Vec<(&str, ArrayRef)> = ["variant", "without", "base"].into_iter().zip(names).collect();
        columns.extend(ABLATION.into_iter().zip(numbers));
        columns.push(("words", Arc::new(StringArray::from(words))));
        Ok(Table::of_columns(columns)?)
    }
}
