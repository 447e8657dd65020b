//! Names of stages and variants, and the identity of a stage's instance.

use std::fmt;

/// A name that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a name: {why}")]
pub struct NameError {
    name: String,
    why: &'static str,
}

/// Checks the name of a stage, variant, limiter or pipeline.
///
/// - 1 to 64 of: ASCII letters, digits, `_`, `-`; variants may also use `.` and `+`.
/// - It starts with a letter.
/// - `none` is refused: it means "no input" where a stage is named.
///
/// # Errors
/// [`NameError`] says which rule was broken.
pub fn check_name(name: &str, dots: bool) -> Result<(), NameError> {
    let refuse = |why| Err(NameError { name: name.to_owned(), why });
    if name == "none" {
        return refuse("`none` is kept for \"no input\"");
    }
    if name.is_empty() || name.len() > 64 {
        return refuse("names have 1 to 64 characters");
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return refuse("names start with a letter");
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-') || (dots && matches!(c, '.' | '+'))) {
        return refuse(if dots {
            "variant names hold letters, digits, `_`, `-`, `.` and `+`"
        } else {
            "names hold letters, digits, `_` and `-`"
        });
    }
    Ok(())
}

/// One stage, for one variant and one seed where it is repeated.
///
/// Displays as `stage`, `stage@VARIANT`, `stage#SEED` or `stage@VARIANT#SEED`;
/// the same text names its files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    /// The stage's name in the YAML.
    pub stage: String,
    /// The variant it is repeated for.
    pub variant: Option<String>,
    /// The pipeline seed it is repeated for, where the pipeline has `seeds:`.
    pub seed: Option<u64>,
}

impl InstanceId {
    /// What tells this instance from its siblings: `V1`, `V1#3`, and the stage's
    /// name where it has no variant: `stage`, `stage#3`.
    #[must_use]
    pub fn label(&self) -> String {
        match (&self.variant, self.seed) {
            (None, None) => self.stage.clone(),
            (Some(variant), None) => variant.clone(),
            (variant, Some(seed)) => format!("{}#{seed}", variant.as_ref().unwrap_or(&self.stage)),
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stage)?;
        if let Some(variant) = &self.variant {
            write!(f, "@{variant}")?;
        }
        if let Some(seed) = self.seed {
            write!(f, "#{seed}")?;
        }
        Ok(())
    }
}
