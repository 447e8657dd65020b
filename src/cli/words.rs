//! Which pipeline and which stage the user means: `[FILE] [STAGE]` words and
//! defaults. What a stage's reference means is the engine's part.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::errors::Mistake;

/// What the positional words of a command name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    /// The pipeline file, if one is named.
    pub(super) file: Option<PathBuf>,
    /// The stage, if one is named.
    pub(super) stage: Option<String>,
}

/// What the words of a command name that takes several stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ManyWords {
    /// The pipeline file, if one is named.
    pub(super) file: Option<PathBuf>,
    /// The stages named.
    pub(super) stages: Vec<String>,
}

fn is_file(word: &OsString) -> bool {
    let path = Path::new(word);
    path.extension().is_some_and(|e| e == "yaml" || e == "yml") || path.components().count() > 1
}

impl Words {
    /// The same for a command that takes several stages.
    ///
    /// # Errors
    /// [`Mistake`] for two files, or a stage that is no text.
    pub(super) fn of_many(words: &[OsString]) -> Result<ManyWords, Mistake> {
        let (files, stages): (Vec<_>, Vec<_>) = words.iter().cloned().partition(is_file);
        let file = Self::of(&files)?.file;
        let text = |word: OsString| word.into_string().map_err(|_| Mistake::new("the stage's name is not UTF-8"));
        Ok(ManyWords { file, stages: stages.into_iter().map(text).collect::<Result<_, _>>()? })
    }

    /// Tells files from stages: a word that ends with `.yaml` or `.yml`, or has
    /// a folder in it, is a file.
    ///
    /// # Errors
    /// [`Mistake`] for two files, two stages, or a stage that is no text.
    pub(super) fn of(words: &[OsString]) -> Result<Self, Mistake> {
        let mut found = Self { file: None, stage: None };
        for word in words {
            if is_file(word) {
                if found.file.replace(PathBuf::from(word)).is_some() {
                    return Err(Mistake::new("two pipeline files are named").hint("name one file and one stage"));
                }
            } else {
                let stage = word.to_str().ok_or_else(|| Mistake::new("the stage's name is not UTF-8"))?;
                if found.stage.replace(stage.to_owned()).is_some() {
                    return Err(Mistake::new(format!("two stages are named; the second is `{stage}`"))
                        .hint("a pipeline file's name ends with .yaml or .yml"));
                }
            }
        }
        Ok(found)
    }
}

/// The pipeline that is meant: the one named, else `pipeline.yaml` in the
/// current folder, else `pipelines/demo.yaml`.
///
/// # Errors
/// [`Mistake`] if none is named and neither of the two is there.
pub(super) fn pipeline_file(named: Option<PathBuf>) -> Result<PathBuf, Mistake> {
    const DEFAULTS: [&str; 2] = ["pipeline.yaml", "pipelines/demo.yaml"];
    if let Some(file) = named {
        return Ok(file);
    }
    DEFAULTS.iter().map(PathBuf::from).find(|file| file.is_file()).ok_or_else(|| {
        Mistake::new("no pipeline is named, and there is no pipeline.yaml here and no pipelines/demo.yaml")
            .hint("name a file: `refrain run FILE`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Result<Words, Mistake> {
        Words::of(&list.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn files_are_told_from_stages() {
        let both = words(&["pipelines/apple.yaml", "vectors@V4"]).unwrap();
        assert_eq!((both.file, both.stage.as_deref()), (Some("pipelines/apple.yaml".into()), Some("vectors@V4")));
        assert_eq!(words(&["train@V2.1"]).unwrap().stage.as_deref(), Some("train@V2.1"));
        assert_eq!(words(&["x", "p.yml"]).unwrap().file, Some("p.yml".into()));
        assert!(words(&["a.yaml", "b.yaml"]).is_err());
        assert!(words(&["a", "b"]).is_err());
    }
}
