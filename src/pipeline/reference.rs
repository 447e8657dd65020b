//! How one stage names another in its inputs: `stage`, `stage.output`,
//! `stage@VARIANT`, `stage@*`.

use crate::ground::check_name;

/// Which instances of a stage are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Selector {
    /// The one of the reader's own variant and seed.
    Own,
    /// That of the named variant, and of the reader's own seed.
    Variant(String),
    /// All: over every variant and seed.
    All,
}

/// A stage, an output and a selection, as written in an input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) stage: String,
    pub(super) output: Option<String>,
    pub(super) selector: Selector,
}

impl Reference {
    /// Reads a reference; `none` is not one.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (producer, selector) = match text.split_once('@') {
            None => (text, Selector::Own),
            Some((producer, "*")) => (producer, Selector::All),
            Some((producer, variant)) => {
                check_name(variant, true).map_err(|error| error.to_string())?;
                (producer, Selector::Variant(variant.to_owned()))
            }
        };
        let (stage, output) = match producer.split_once('.') {
            None => (producer, None),
            Some((stage, output)) => (stage, Some(output)),
        };
        for name in [Some(stage), output].into_iter().flatten() {
            check_name(name, false).map_err(|error| error.to_string())?;
        }
        Ok(Self { stage: stage.to_owned(), output: output.map(str::to_owned), selector })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_a_stage_and_perhaps_an_output_and_a_selection() {
        let reference = |stage: &str, output: Option<&str>, selector| {
            Ok(Reference { stage: stage.to_owned(), output: output.map(str::to_owned), selector })
        };
        assert_eq!(Reference::parse("core"), reference("core", None, Selector::Own));
        assert_eq!(Reference::parse("core.items"), reference("core", Some("items"), Selector::Own));
        assert_eq!(
            Reference::parse("core.items@V2.1"),
            reference("core", Some("items"), Selector::Variant("V2.1".into()))
        );
        assert_eq!(Reference::parse("core@*"), reference("core", None, Selector::All));
        for text in ["", "core@", "core.", ".items", "1st", "a b", "core@*.items", "none"] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
