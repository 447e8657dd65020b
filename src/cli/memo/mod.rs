//! `refrain memo`: what the memo holds and lacks, and carrying it between machines.

mod arguments;
mod export;
mod import;
mod lacks;
mod rows;
mod stats;

pub(super) use arguments::MemoCommand;

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::arguments::Global;
use super::errors::Exit;

/// Does what is asked with the memo.
///
/// # Errors
/// As the commands.
pub(super) fn memo(global: &Global, command: &MemoCommand) -> anyhow::Result<Exit> {
    match command {
        MemoCommand::Stats(arguments) => stats::stats(global, arguments),
        MemoCommand::Lacks(arguments) => lacks::lacks(global, arguments),
        MemoCommand::Export(arguments) => export::export(global, arguments),
        MemoCommand::Import(arguments) => import::import(global, arguments),
    }
}

/// How far a command is, on a terminal.
fn progress_bar(rows: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {bar:20.cyan/dim} {human_pos} of {human_len}  {per_sec}");
    ProgressBar::new(rows).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
