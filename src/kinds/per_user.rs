//! For `compare`: the metrics of each user out of `evaluate`'s ranks, and what
//! can be said with them: intervals, verdicts and what an ablation leaves.

use std::collections::BTreeMap;

use crate::ground::Seed;
use crate::metrics::{Interval, hit, holm, interval_of, mean, ndcg, sign_flip};
use crate::stage::{Input, StageError};
use crate::table::complete;

/// The level that a corrected p is held to.
const LEVEL: f64 = 0.05;

/// How many times the value on test the value on validation may be before it is
/// far above. The parts are of other times, so some difference is natural.
const FAR_ABOVE: f64 = 1.25;

/// A variant's metrics, each `[seeds][users]` and summed over a user's targets;
/// users in ascending order.
#[derive(Debug, Default)]
pub(super) struct PerUser {
    users: Vec<String>,
    /// How many targets each user has, as one seed.
    targets: Vec<Vec<f64>>,
    pub(super) hr: Vec<Vec<f64>>,
    pub(super) ndcg: Vec<Vec<f64>>,
    /// NDCG on validation, `[seeds][users]`; none for a user without a validation item.
    validation: Vec<Vec<Option<f64>>>,
}

/// How a variant stands to the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Verdict {
    /// Corrected; none for the baseline itself.
    pub(super) p: Option<f64>,
    pub(super) word: &'static str,
}

/// What of a variant's gain over a base is left without a part of it, on HR.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Remainder {
    pub(super) gain: f64,
    pub(super) remaining: f64,
    /// None where the gain cannot be told from none: nothing can be a share of it.
    pub(super) share: Option<Interval>,
}

impl PerUser {
    /// Adds a seed: one of `evaluate`'s tables of ranks.
    pub(super) fn add(&mut self, input: &Input, part: &str, k: u32) -> Result<(), StageError> {
        let table = input.table()?;
        let (users, parts) =
            (complete("user_id", table.strings("user_id")?)?, complete("part", table.strings("part")?)?);
        let ranks = complete("rank", table.integers("rank")?)?;
        let mut of_users: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
        let mut validation: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for row in 0..table.rows() {
            let rank = u32::try_from(ranks.value(row)).unwrap_or(u32::MAX);
            if parts.value(row) == part {
                let [hits, gains, targets] = of_users.entry(users.value(row)).or_default();
                (*hits, *gains, *targets) = (*hits + hit(rank, k), *gains + ndcg(rank, k), *targets + 1.0);
            } else if parts.value(row) == "validation" {
                validation.entry(users.value(row)).or_default().push(ndcg(rank, k));
            }
        }
        let names: Vec<String> = of_users.keys().map(|user| (*user).to_owned()).collect();
        if !self.hr.is_empty() && names != self.users {
            return Err(other_users(&input.label));
        }
        self.users = names;
        let column = |place: usize| of_users.values().map(|sums| sums[place]).collect::<Vec<f64>>();
        self.targets = vec![column(2)];
        self.hr.push(column(0));
        self.ndcg.push(column(1));
        let of_user = |user: &String| validation.get(user.as_str()).and_then(|values| mean(values));
        self.validation.push(self.users.iter().map(of_user).collect());
        Ok(())
    }

    /// What warns of an epoch or a setting that was chosen on too little, or of
    /// negatives that give the validation items away: the mean NDCG on validation
    /// and on test of the users who have both, where the first is [`FAR_ABOVE`]
    /// and a paired test over the users finds a difference.
    pub(super) fn flattering(&self, sampling: &Sampling) -> Option<[f64; 2]> {
        let mut both = Vec::new();
        for (user, test) in self.of_users().into_iter().enumerate() {
            let of_seeds: Vec<f64> = self.validation.iter().filter_map(|of_users| of_users[user]).collect();
            both.extend(mean(&of_seeds).map(|validation| [validation, test]));
        }
        let [validation, test] = [0, 1].map(|part| both.iter().map(|values| values[part]).sum::<f64>());
        if validation <= FAR_ABOVE * test {
            return None;
        }
        let differences: Vec<f64> = both.iter().map(|[validation, test]| validation - test).collect();
        let found = sign_flip(&differences, sampling.permutations, &sampling.seed) <= LEVEL;
        found.then(|| [validation, test].map(|sum| sum / both.len() as f64))
    }

    /// Each user's NDCG, averaged over its targets and the seeds.
    fn of_users(&self) -> Vec<f64> {
        let seeds = self.ndcg.len() as f64;
        let targets = self.targets.first().map(Vec::as_slice).unwrap_or_default();
        let of_user =
            |(user, targets): (usize, &f64)| self.ndcg.iter().map(|values| values[user] / targets).sum::<f64>() / seeds;
        targets.iter().enumerate().map(of_user).collect()
    }
}

fn other_users(label: &str) -> StageError {
    StageError::with_hint(
        format!("the ranks of `{label}` are of other users than those that they are compared with"),
        "give `compare` only what was evaluated on one split",
    )
}

/// What is drawn, and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampling {
    pub(super) seed: Seed,
    pub(super) resamples: u32,
    pub(super) permutations: u32,
}

impl Sampling {
    /// The interval of the mean over targets of one of a variant's metrics. Users
    /// and seeds are drawn: a user that is drawn brings all its targets.
    pub(super) fn interval(&self, metric: &[Vec<f64>], of: &PerUser) -> Option<Interval> {
        interval_of(&[metric, &of.targets], &|means| means[0] / means[1], self.resamples, &self.seed)
    }

    /// How each variant stands to the baseline on NDCG; p are corrected for how
    /// many are compared.
    pub(super) fn verdicts(
        &self,
        all: &BTreeMap<String, PerUser>,
        baseline: &str,
    ) -> Result<BTreeMap<String, Verdict>, StageError> {
        let base = find(all, baseline, "baseline")?;
        let of_base = base.of_users();
        let (mut names, mut values, mut gains) = (Vec::new(), Vec::new(), Vec::new());
        for (name, sample) in all.iter().filter(|(name, _)| *name != baseline) {
            if sample.users != base.users {
                return Err(other_users(name));
            }
            let differences: Vec<f64> = sample.of_users().iter().zip(&of_base).map(|(own, base)| own - base).collect();
            names.push(name.clone());
            values.push(sign_flip(&differences, self.permutations, &self.seed));
            gains.push(differences.iter().sum::<f64>());
        }
        let word = |p: f64, gain: f64| match (p <= LEVEL, gain > 0.0) {
            (false, _) => "not distinguishable",
            (true, true) => "better",
            (true, false) => "worse",
        };
        let judged = holm(&values).into_iter().zip(gains).map(|(p, gain)| Verdict { p: Some(p), word: word(p, gain) });
        let mut verdicts: BTreeMap<String, Verdict> = names.into_iter().zip(judged).collect();
        verdicts.insert(baseline.to_owned(), Verdict { p: None, word: "baseline" });
        Ok(verdicts)
    }

    /// What of `variant`'s gain over `base` is there `without` a part.
    pub(super) fn remainder(
        &self,
        all: &BTreeMap<String, PerUser>,
        [variant, without, base]: [&str; 3],
    ) -> Result<Remainder, StageError> {
        let samples = [("variant", variant), ("without", without), ("base", base)];
        let [whole, rest, base] = samples.map(|(setting, name)| find(all, name, setting));
        let (whole, rest, base) = (whole?, rest?, base?);
        for (name, sample) in [(variant, whole), (without, rest)] {
            if sample.users != base.users {
                return Err(other_users(name));
            }
        }
        let samples: [&[Vec<f64>]; 4] = [&whole.hr, &rest.hr, &base.hr, &base.targets];
        let interval = |statistic: fn(&[f64]) -> f64| interval_of(&samples, &statistic, self.resamples, &self.seed);
        let gain = interval(|means| (means[0] - means[2]) / means[3]);
        let remaining = interval(|means| (means[1] - means[2]) / means[3]);
        let share = gain
            .filter(|gain| gain.low > 0.0)
            .and_then(|_| interval(|means| (means[1] - means[2]) / (means[0] - means[2])));
        let value = |interval: Option<Interval>| interval.map_or(f64::NAN, |interval| interval.value);
        Ok(Remainder { gain: value(gain), remaining: value(remaining), share })
    }
}

fn find<'a>(all: &'a BTreeMap<String, PerUser>, name: &str, setting: &str) -> Result<&'a PerUser, StageError> {
    all.get(name).ok_or_else(|| {
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        let what = format!("`{setting}: {name}` is not among what is compared");
        StageError::with_hint(what, format!("there are ranks of {}", names.join(", ")))
    })
}

/// An ablation in a sentence.
pub(super) fn sentence([variant, without, base]: [&str; 3], k: u32, left: &Remainder) -> String {
    let Remainder { gain, remaining, share } = left;
    let of = format!("of {variant}'s gain over {base} of {gain:+.3} HR@{k}");
    match share {
        Some(Interval { value, low, high }) => {
            let [value, low, high] = [value, low, high].map(|share| format!("{:.0}", share * 100.0));
            format!("{of}, {remaining:+.3} ({value} %, 95 % interval {low} to {high} %) remain in {without}")
        }
        None => format!("{of}, {remaining:+.3} remain in {without}; the gain itself cannot be told from none"),
    }
}
