//! What may be typed after the commands for whoever writes a pipeline: `init`,
//! `check`, `kinds`, `completions`, `man`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::Reading;

pub(super) const COMPLETIONS_HELP: &str = "\
bash:        refrain completions bash > ~/.local/share/bash-completion/completions/refrain
zsh:         refrain completions zsh > DIR/_refrain, with a DIR of $fpath
fish:        refrain completions fish > ~/.config/fish/completions/refrain.fish
powershell:  refrain completions powershell >> $PROFILE
elvish:      refrain completions elvish >> ~/.config/elvish/rc.elv

bash, zsh and fish also complete the stages of the pipeline that is named, or of the default one.";

/// What a new pipeline does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Template {
    /// Reads a table and shapes it with SQL
    Minimal,
    /// From who listened to what to a leaderboard of two recommenders
    Recommender,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InitArguments {
    /// Where to write it; the folder is made if it is not there
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub(in crate::cli) folder: PathBuf,
    /// What the pipeline does; `recommender` if the data has users, items and times
    #[arg(long, value_name = "NAME", value_enum)]
    pub(in crate::cli) template: Option<Template>,
    /// Start from this CSV or TSV file, whose columns are written in; from a small one that is made up if not given
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) csv: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CompletionsArguments {
    /// The shell
    #[arg(value_name = "SHELL", value_enum, required_unless_present = "stages")]
    pub(in crate::cli) shell: Option<Shell>,
    /// Print the stages that may stand in this command line; the scripts ask for it
    #[arg(long, value_name = "LINE", hide = true, allow_hyphen_values = true, conflicts_with = "shell")]
    pub(in crate::cli) stages: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ManArguments {
    /// Write a page for each command into this folder, such as ~/.local/share/man/man1
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArguments {
    /// The pipeline
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct KindsArguments {
    /// The kind to describe in full
    #[arg(value_name = "NAME")]
    pub(in crate::cli) name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
