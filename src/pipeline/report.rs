//! Collects the mistakes found in a file and its bases, each at its place, and puts them
//! in the order of the file. Knows nothing of what a pipeline is.

use std::path::{Path, PathBuf};

use crate::ground::{Location, Problem, Problems, closest};

/// A file by its number in the [`Report`], 0 for the pipeline's own, and a line
/// and a column (in characters), both from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    /// Where the pipeline's own file starts.
    pub(super) const START: Self = Self { file: 0, line: 1, column: 1 };
}

/// A file that problems are found in.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    lines: Vec<String>,
}

/// The texts of a file and of its bases, and the problems found in them.
#[derive(Debug)]
pub(super) struct Report {
    files: Vec<Opened>,
    found: Vec<(Option<Place>, Problem)>,
}

impl Report {
    /// A report with nothing in it yet. `file` is what messages call it.
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let mut report = Self { files: Vec::new(), found: Vec::new() };
        report.open(file, text);
        report
    }

    /// Turns to a further file, which what is parsed next stands in.
    pub(super) fn open(&mut self, file: &Path, text: &str) {
        self.files.push(Opened { path: file.to_owned(), lines: text.lines().map(str::to_owned).collect() });
    }

    /// The number of the file that was opened last.
    pub(super) fn current(&self) -> usize {
        self.files.len() - 1
    }

    /// A place with its file and its line's text.
    pub(super) fn location(&self, place: Place) -> Location {
        let text = self.line(place).to_owned();
        let file = self.files.get(place.file).map(|file| file.path.clone()).unwrap_or_default();
        Location { file, line: place.line, column: place.column, text }
    }

    /// The text of the line of a place; empty where there is none.
    pub(super) fn line(&self, place: Place) -> &str {
        let lines = self.files.get(place.file).map(|file| file.lines.as_slice()).unwrap_or_default();
        place.line.checked_sub(1).and_then(|index| lines.get(index)).map_or("", String::as_str)
    }

    /// Adds a problem that explains itself.
    pub(super) fn add(&mut self, place: Place, what: impl Into<String>) {
        self.put(Some(place), what.into(), None);
    }

    /// Adds a problem and what to do about it.
    pub(super) fn hinted(&mut self, place: Place, what: impl Into<String>, hint: impl Into<String>) {
        self.put(Some(place), what.into(), Some(hint.into()));
    }

    /// Adds a problem with the hint that there may be.
    pub(super) fn put(&mut self, place: Option<Place>, what: String, hint: Option<String>) {
        let known = self.found.iter().any(|(at, problem)| *at == place && problem.what == what);
        if !known {
            let mut problem = Problem::new(what);
            problem.at = place.map(|place| self.location(place));
            problem.hint = hint;
            self.found.push((place, problem));
        }
    }

    /// The value if nothing was found, else the problems: those without a place
    /// first, then in the order of the file, then those of its bases.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, Problems> {
        self.found.sort_by_key(|(place, _)| *place);
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(Problems(self.found.into_iter().map(|(_, problem)| problem).collect())),
        }
    }
}

/// A hint for a word that is not among those known: the closest, or what there is.
pub(super) fn suggest<'a>(word: &str, these: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = closest(word, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    match known.len() {
        0 => format!("there are no {these}"),
        1..=SHOWN => format!("the {these} are {}", known.join(", ")),
        more => format!("the {these} are {} and {} more", known[..SHOWN].join(", "), more - SHOWN),
    }
}
