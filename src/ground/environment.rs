//! `${env.NAME}` references: where secrets and endpoints come from.
//!
//! A setting keeps the reference as written; the value is looked up only when
//! it is used and is never stored, hashed or printed.

use std::collections::BTreeMap;

/// The environment variables a run may read.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
}

impl std::fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// An environment variable that a setting refers to and that is not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} is not set")]
pub struct MissingVariable {
    /// The variable's name.
    pub name: String,
}

impl Environment {
    /// The environment of this process; variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        Self::from_pairs(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))))
    }

    /// An environment made of the given pairs: for tests.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { values: pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect() }
    }

    /// The value of a variable; an empty one counts as not set.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// Replaces each `${env.NAME}` in `text` by the variable's value.
    ///
    /// # Errors
    /// [`MissingVariable`] for the first variable that is not set.
    pub fn expand(&self, text: &str) -> Result<String, MissingVariable> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${env.") {
            let Some((name, tail)) = after.split_once('}') else { break };
            expanded.push_str(before);
            expanded.push_str(self.var(name).ok_or_else(|| MissingVariable { name: name.to_owned() })?);
            rest = tail;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    /// The names of the variables that `text` refers to, in order.
    #[must_use]
    pub fn references(text: &str) -> Vec<String> {
        text.split("${env.").skip(1).filter_map(|tail| Some(tail.split_once('}')?.0.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_missing_ones_are_named() {
        let env = Environment::from_pairs([("KEY", "abc"), ("EMPTY", "")]);
        assert_eq!(env.expand("k=${env.KEY}&x").as_deref(), Ok("k=abc&x"));
        assert_eq!(env.expand("${env.EMPTY}"), Err(MissingVariable { name: "EMPTY".into() }));
        assert_eq!(Environment::references("${env.A}/${env.B}"), ["A", "B"]);
        assert!(!format!("{env:?}").contains("abc"));
    }
}
