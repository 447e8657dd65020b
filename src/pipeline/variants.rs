//! What the variants of a pipeline stand for: their values, and the number by
//! which they can be put on a line.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Pipeline;
use super::node::Entry;
use super::substitute::Variant;

/// A value that is a number under every variant: what a plot can have across.
#[derive(Debug, Clone, PartialEq)]
pub struct NumericAxis {
    /// The value's name, as in `${variant.NAME}`.
    pub name: String,
    /// The number of each variant, in the order in which they were asked for.
    pub numbers: Vec<f64>,
}

/// The values of each variant, by name.
pub(super) fn values(variants: &[Variant]) -> BTreeMap<String, BTreeMap<String, Value>> {
    let value = |entry: &Entry| (entry.key.clone(), entry.node.to_value());
    variants.iter().map(|variant| (variant.name.clone(), variant.values.iter().map(value).collect())).collect()
}

impl Pipeline {
    /// The one value by which these variants differ as numbers do: each of them
    /// has it, it is a number under each, and not the same under all. None if
    /// there is no such value, or more than one: then none of them is the axis.
    #[must_use]
    pub fn numeric_axis(&self, variants: &[&str]) -> Option<NumericAxis> {
        let values: Vec<_> = variants.iter().map(|name| self.variant_values.get(*name)).collect::<Option<_>>()?;
        let numbers =
            |name: &str| values.iter().map(|of| of.get(name).and_then(Value::as_f64)).collect::<Option<Vec<f64>>>();
        let differ = |numbers: &[f64]| numbers.iter().map(|number| number.to_bits()).collect::<BTreeSet<_>>().len() > 1;
        let mut axes = values.first()?.keys().filter_map(|name| {
            let numbers = numbers(name).filter(|numbers| differ(numbers))?;
            Some(NumericAxis { name: name.clone(), numbers })
        });
        let axis = axes.next()?;
        axes.next().is_none().then_some(axis)
    }
}
