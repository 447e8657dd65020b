//! Which pipeline and which stage the user means: `[FILE] [STAGE]` words,
//! defaults, and `stage@VARIANT#SEED.output`.

use std::ffi::OsString;
use std::fmt;
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

impl Words {
    /// Tells files from stages: a word that ends with `.yaml` or `.yml`, or has
    /// a folder in it, is a file.
    ///
    /// # Errors
    /// [`Mistake`] for two files, two stages, or a stage that is no text.
    pub(super) fn of(words: &[OsString]) -> Result<Self, Mistake> {
        let mut found = Self { file: None, stage: None };
        for word in words {
            let path = Path::new(word);
            let is_file = path.extension().is_some_and(|e| e == "yaml" || e == "yml") || path.components().count() > 1;
            if is_file {
                if found.file.replace(path.to_owned()).is_some() {
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

/// A stage, perhaps one of its instances, perhaps one of its outputs, as a
/// user writes it: `stage[@VARIANT][#SEED][.output]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StageReference {
    pub(super) stage: String,
    pub(super) variant: Option<String>,
    pub(super) seed: Option<u64>,
    pub(super) output: Option<String>,
}

impl StageReference {
    /// Reads a reference. Variants may have dots in their names, so `variants`
    /// (those of the pipeline) and `outputs` (those of the stage) tell
    /// `train@V2.1` from `train@V2.curve`.
    ///
    /// # Errors
    /// [`Mistake`] if the seed is no number.
    pub(super) fn parse(text: &str, variants: &[String]) -> Result<Self, Mistake> {
        let (before_seed, after_seed) = text.split_once('#').map_or((text, None), |(a, b)| (a, Some(b)));
        let (stage, variant) = before_seed.split_once('@').map_or((before_seed, None), |(a, b)| (a, Some(b)));
        let mut output = None;
        let mut seed = None;
        if let Some(tail) = after_seed {
            let (number, rest) = tail.split_once('.').map_or((tail, None), |(a, b)| (a, Some(b)));
            let number = number.parse().map_err(|_| {
                Mistake::new(format!("`{number}` in `{text}` is no seed")).hint("a seed is a whole number: `train@V1#2`")
            })?;
            (seed, output) = (Some(number), rest.map(str::to_owned));
        }
        let mut variant = variant.map(str::to_owned);
        if let Some(name) = &variant
            && output.is_none()
            && !variants.contains(name)
            && let Some((front, back)) = name.rsplit_once('.')
            && variants.iter().any(|known| known == front)
        {
            output = Some(back.to_owned());
            variant = Some(front.to_owned());
        }
        let mut stage = stage.to_owned();
        if variant.is_none()
            && let Some((front, back)) = stage.clone().split_once('.')
        {
            // A stage's name has no dot: what follows one is an output.
            output = Some(back.to_owned());
            front.clone_into(&mut stage);
        }
        Ok(Self { stage, variant, seed, output })
    }
}

impl fmt::Display for StageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stage)?;
        if let Some(variant) = &self.variant {
            write!(f, "@{variant}")?;
        }
        if let Some(seed) = self.seed {
            write!(f, "#{seed}")?;
        }
        if let Some(output) = &self.output {
            write!(f, ".{output}")?;
        }
        Ok(())
    }
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

    #[test]
    fn dots_in_variants_are_told_from_outputs() {
        let variants = ["V2.1".to_owned(), "V2".to_owned()];
        let parse = |text: &str| StageReference::parse(text, &variants).unwrap();
        assert_eq!(parse("train@V2.1").variant.as_deref(), Some("V2.1"));
        assert_eq!(parse("train@V2.1").output, None);
        assert_eq!(parse("train@V2.1.curve").output.as_deref(), Some("curve"));
        assert_eq!(parse("train@V2.curve").variant.as_deref(), Some("V2"));
        assert_eq!(parse("train.curve").output.as_deref(), Some("curve"));
        assert_eq!((parse("train@V2.1#3.curve").seed, parse("train#3").seed), (Some(3), Some(3)));
        for text in ["train", "train@V2.1", "train@V2.1#3.curve", "train#3", "train@V2.1.curve"] {
            assert_eq!(parse(text).to_string(), text);
        }
        assert!(StageReference::parse("train#x", &variants).is_err());
    }
}
