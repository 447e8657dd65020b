//! The command line: what may be typed, what is printed, and the exit codes.
//! Everything that takes time is done by the layers below.

mod arguments;
mod asking;
mod bless;
mod board;
mod catalogue;
mod cells;
mod costs;
mod device;
mod diff;
mod errors;
mod exchange;
mod fields;
mod forecast;
mod gauge;
mod gc;
mod graph;
mod grid;
mod interrupt;
mod lines;
mod live;
mod memo;
mod narrator;
mod observers;
mod plan;
mod project;
mod recommend;
mod recommender;
mod run;
mod runs;
mod serve;
mod show;
mod similar;
mod status;
mod terminal;
mod verify;
mod weights;
mod why;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command, ModelCommand};
use errors::Exit;
use terminal::Style;

/// Runs the program with these arguments, of which the first is its own name.
///
/// The exit code is 0 if all went well, 1 if a stage failed, 2 if the user's
/// file or arguments are wrong or nothing could be started, 130 if the user
/// stopped it.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Wrong.code()));
        }
    };
    let style = Style::of_stderr(arguments.global.color);
    let exit = dispatch(&arguments).unwrap_or_else(|error| errors::report(&error, style));
    exit.into()
}

fn dispatch(arguments: &Arguments) -> anyhow::Result<Exit> {
    let global = &arguments.global;
    match &arguments.command {
        Command::Run(run) => run::run(global, run),
        Command::Plan(plan) => plan::plan(global, plan),
        Command::Why(why) => why::why(global, why),
        Command::Bless(bless) => bless::bless(global, bless),
        Command::Runs(runs) => runs::runs(global, runs),
        Command::Costs(costs) => costs::costs(global, costs),
        Command::Diff(diff) => diff::diff(global, diff),
        Command::Status(status) => status::status(global, status),
        Command::Graph(graph) => graph::graph(global, graph),
        Command::Show(show) => show::show(global, show),
        Command::Path(path) => show::path(global, path),
        Command::Recommend(recommend) => recommend::recommend(global, recommend),
        Command::Similar(similar) => similar::similar(global, similar),
        Command::Check(check) => catalogue::check(global, check),
        Command::Kinds(kinds) => catalogue::kinds(global, kinds),
        Command::Schema => catalogue::schema(),
        Command::Sandbox(sandbox) => serve::sandbox(sandbox),
        Command::Verify(verify) => verify::verify(global, verify),
        Command::Gc(gc) => gc::gc(global, gc),
        Command::Memo(command) => memo::memo(global, command),
        Command::Device(arguments) => device::device(arguments),
        Command::Weights(command) => weights::weights(global, command),
        Command::Model(ModelCommand::Fetch(fetch)) => serve::fetch(fetch),
    }
}
