//! The tables that a stage reads and writes, as it declares them.

use std::borrow::Cow;

/// A table that a stage reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPort {
    /// The name under `inputs:`. `*` stands for any name the user likes.
    pub name: String,
    /// The columns that are read: nothing else of the table decides the result.
    pub columns: Columns,
    /// Whether the stage can run without it. A stage whose required input is
    /// `none` does not exist for that variant.
    pub required: bool,
    /// Whether a list of stages, or `stage@*`, may be given.
    pub many: bool,
}

/// Which columns of an input are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// All, whatever they are called.
    All,
    /// These must be there.
    Named(Vec<String>),
    /// The first must be there; the second are read where they are there.
    NamedAndOptional(Vec<String>, Vec<String>),
}

impl InputPort {
    /// A required port for one table, reading the named columns.
    pub fn new<S: Into<String>>(name: &str, columns: impl IntoIterator<Item = S>) -> Self {
        let columns = Columns::Named(columns.into_iter().map(Into::into).collect());
        Self { name: name.to_owned(), columns, required: true, many: false }
    }

    /// A required port for one table, reading every column.
    #[must_use]
    pub fn whole(name: &str) -> Self {
        Self { name: name.to_owned(), columns: Columns::All, required: true, many: false }
    }

    /// Also reads these columns where the table has them.
    #[must_use]
    pub fn and_optional<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        let optional = columns.into_iter().map(Into::into).collect();
        if let Columns::Named(named) = self.columns {
            self.columns = Columns::NamedAndOptional(named, optional);
        }
        self
    }

    /// The stage can run without this input.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// Takes a list of stages, or `stage@*`.
    #[must_use]
    pub fn many(mut self) -> Self {
        self.many = true;
        self
    }
}

/// A table that a stage writes. The first port of a stage is what its bare
/// name refers to; the others are written `stage.port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPort {
    /// The name after the dot.
    pub name: Cow<'static, str>,
    /// The columns, for people: `user_id: str`, …; empty where the settings decide.
    pub columns: Vec<(String, String)>,
    /// The columns that tell a row from every other, where there are such:
    /// two results are compared row by row along them.
    pub key: Vec<String>,
}

impl OutputPort {
    /// A port with columns of `(name, type)`.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, columns: &[(&str, &str)]) -> Self {
        let columns = columns.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
        Self { name: name.into(), columns, key: Vec::new() }
    }

    /// Says which columns tell a row from every other.
    #[must_use]
    pub fn keyed_by<S: AsRef<str>>(mut self, key: &[S]) -> Self {
        self.key = key.iter().map(|name| name.as_ref().to_owned()).collect();
        self
    }
}
