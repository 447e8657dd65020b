//! `refrain graph`: the pipeline drawn as Mermaid or DOT.

use super::arguments::{Global, GraphArguments, GraphFormat};
use super::errors::Exit;
use super::project;
use super::terminal::data;
use crate::pipeline::{Detail, dot, mermaid};

/// Prints the graph.
///
/// # Errors
/// If it cannot be printed.
pub(super) fn graph(global: &Global, arguments: &GraphArguments) -> anyhow::Result<Exit> {
    let pipeline = match project::read(global, arguments.file.clone(), &arguments.reading)? {
        Ok(pipeline) => pipeline,
        Err(exit) => return Ok(exit),
    };
    let detail = if arguments.all { Detail::Instances } else { Detail::Stages };
    data(&match arguments.format {
        GraphFormat::Mermaid => mermaid(&pipeline, detail),
        GraphFormat::Dot => dot(&pipeline, detail),
    })?;
    Ok(Exit::Done)
}
