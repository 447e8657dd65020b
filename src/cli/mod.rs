//! The command line: what may be typed, what is printed, and the exit codes.
//! Everything that takes time is done by the layers below.

mod arguments;
mod asking;
mod bless;
mod board;
mod bounded;
mod catalogue;
mod cells;
mod completions;
mod costs;
mod device;
mod diff;
mod errors;
mod exchange;
mod export;
mod fields;
mod forecast;
mod gauge;
mod gc;
mod graph;
mod grid;
mod init;
mod interrupt;
mod lines;
mod live;
mod man;
mod memo;
mod narrator;
mod observers;
mod plan;
mod project;
mod recommend;
mod recommender;
mod records;
mod remote_store;
mod report;
mod run;
mod runs;
mod selection;
mod serve;
mod share;
mod show;
mod similar;
mod sql;
mod stats;
mod status;
mod tables;
mod terminal;
mod tui;
mod verify;
mod view;
mod watch;
mod weights;
mod why;
mod words;
mod work;

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
    let words: Vec<OsString> = arguments.into_iter().collect();
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Wrong.code()));
        }
    };
    if arguments.command.asks_much() {
        bounded::start_anew(&words);
    }
    let style = Style::of_stderr(arguments.global.color);
    let exit = dispatch(&arguments).unwrap_or_else(|error| errors::report(&error, style));
    exit.into()
}

fn dispatch(arguments: &Arguments) -> anyhow::Result<Exit> {
    let global = &arguments.global;
    match &arguments.command {
        Command::Run(run) => run::run(global, run),
        Command::Watch(watch) => watch::watch(global, watch),
        Command::Work(work) => work::work(global, work),
        Command::Plan(plan) => plan::plan(global, plan),
        Command::Why(why) => why::why(global, why),
        Command::Bless(bless) => bless::bless(global, bless),
        Command::Runs(runs) => runs::runs(global, runs),
        Command::Costs(costs) => costs::costs(global, costs),
        Command::Diff(diff) => diff::diff(global, diff),
        Command::Status(status) => status::status(global, status),
        Command::Push(push) => share::push(global, push),
        Command::Pull(pull) => share::pull(global, pull),
        Command::Graph(graph) => graph::graph(global, graph),
        Command::Show(show) => show::show(global, show),
        Command::Sql(sql) => sql::sql(global, sql),
        Command::Path(path) => show::path(global, path),
        Command::Report(report) => report::report(global, report),
        Command::Recommend(recommend) => recommend::recommend(global, recommend),
        Command::Similar(similar) => similar::similar(global, similar),
        Command::Init(init) => init::init(global, init),
        Command::Check(check) => catalogue::check(global, check),
        Command::Kinds(kinds) => catalogue::kinds(global, kinds),
        Command::Schema => catalogue::schema(),
        Command::Serve(arguments) => view::serve(global, arguments),
        Command::Sandbox(sandbox) => serve::sandbox(sandbox),
        Command::Verify(verify) if global.remote.is_some() => remote_store::verify(global, verify),
        Command::Verify(verify) => verify::verify(global, verify),
        Command::Gc(gc) if global.remote.is_some() => remote_store::gc(global, gc),
        Command::Gc(gc) => gc::gc(global, gc),
        Command::Memo(command) => memo::memo(global, command),
        Command::Device(arguments) => device::device(arguments),
        Command::Export(command) => export::export(global, command),
        Command::Weights(command) => weights::weights(global, command),
        Command::Model(ModelCommand::Fetch(fetch)) => serve::fetch(fetch),
        Command::Completions(completions) => completions::completions(completions),
        Command::Man(man) => man::man(man),
    }
}
