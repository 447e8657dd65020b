//! What may be typed after the commands about what a run uses: `sandbox`,
//! `device`, `model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::model::DeviceChoice;
use crate::sandbox::FaultKind;

pub(super) const DEVICE_HELP: &str = "\
The check trains and ranks a small generated split on the processor and on the device, and embeds some texts where the
weights are on this machine. It also times a whole training on the device. Exit code 1 if they do not agree. What a GPU needs is in docs/gpu.md.";

#[derive(Debug, Args)]
pub(in crate::cli) struct SandboxArguments {
    /// The loopback port; 0 lets the system choose
    #[arg(long, default_value_t = 0)]
    pub(in crate::cli) port: u16,
    /// The world's seed
    #[arg(long, default_value_t = 0)]
    pub(in crate::cli) seed: u64,
    /// How many listeners there are
    #[arg(long, value_name = "N")]
    pub(in crate::cli) users: Option<usize>,
    /// How many songs there are
    #[arg(long, value_name = "N")]
    pub(in crate::cli) songs: Option<usize>,
    /// Make the world over the songs of this CSV file
    #[arg(long, value_name = "CSV")]
    pub(in crate::cli) catalog: Option<PathBuf>,
    /// Share of artists who do not sing in English, 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub(in crate::cli) other_languages: Option<f64>,
    /// Share of requests that fail as real servers fail, 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub(in crate::cli) faults: Option<f64>,
    /// How they fail, as `reset,html`; in every way that passes if not given
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub(in crate::cli) fault_kinds: Vec<FaultKind>,
    /// How long an answer stalls
    #[arg(long, value_name = "SECONDS")]
    pub(in crate::cli) stall_secs: Option<f64>,
    /// The length of an answer of the fault `giant`
    #[arg(long, value_name = "BYTES")]
    pub(in crate::cli) giant_bytes: Option<u64>,
    /// Suspend Last.fm's key after so many requests, until `/__restore` is asked
    #[arg(long, value_name = "N")]
    pub(in crate::cli) revoke_after: Option<u64>,
    /// Requests per second that each server allows before it answers 429
    #[arg(long, value_name = "N")]
    pub(in crate::cli) per_second: Option<f64>,
    /// What a server allows, such as `chat.tokens_per_minute=6000`; may be repeated
    #[arg(long, value_name = "PROVIDER.LIMIT=N", value_parser = parse_limit)]
    pub(in crate::cli) limit: Vec<(String, String, f64)>,
}

fn parse_limit(text: &str) -> Result<(String, String, f64), String> {
    let parts = text.split_once('=').and_then(|(name, number)| Some((name.split_once('.')?, number)));
    let Some(((provider, limit), number)) = parts else {
        return Err("give a provider, a limit and a number: `lastfm.per_second=5`".to_owned());
    };
    let number = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    Ok((provider.to_owned(), limit.to_owned(), number))
}

/// Options of `device`.
#[derive(Debug, Args)]
pub(in crate::cli) struct DeviceArguments {
    /// The device: `auto` (a GPU where one works), `cpu`, `cuda`, or `cuda:N` for the GPU of that number
    #[arg(long, value_name = "DEVICE", env = "REFRAIN_DEVICE", default_value_t = DeviceChoice::Auto)]
    pub(in crate::cli) device: DeviceChoice,
    /// Compare with the processor, and time both
    #[arg(long)]
    pub(in crate::cli) check: bool,
    /// The check at the size of the paper's data: minutes where there is no GPU
    #[arg(long, requires = "check")]
    pub(in crate::cli) full: bool,
    /// What the card can do at most, GFLOP/s and GB/s: then the check says which share of that was reached
    #[arg(long, value_name = "GFLOPS,GBS", requires = "check", value_parser = parse_limits)]
    pub(in crate::cli) limits: Option<[f64; 2]>,
}

fn parse_limits(text: &str) -> Result<[f64; 2], String> {
    let numbers: Vec<f64> = text.split(',').filter_map(|number| number.trim().parse().ok()).collect();
    let limits = numbers.try_into().ok().filter(|limits: &[f64; 2]| limits.iter().all(|limit| *limit > 0.0));
    limits.ok_or_else(|| "give GFLOP/s and GB/s: `67000,4800`".to_owned())
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ModelCommand {
    /// Make the weights of the text encoder available on this machine
    Fetch(FetchArguments),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FetchArguments {
    /// The model: the default, or `OWNER/NAME` of a sentence-transformers BERT on the Hugging Face hub
    #[arg(value_name = "MODEL", default_value = "sentence-transformers/all-MiniLM-L6-v2")]
    pub(in crate::cli) model: String,
    /// The commit on the hub, if not the newest
    #[arg(long, value_name = "COMMIT")]
    pub(in crate::cli) revision: Option<String>,
    /// Where models are kept, if not in the usual place
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) to: Option<PathBuf>,
}
