//! `refrain weights`: a model's tensors to safetensors, as PyTorch reads them,
//! and back. Names and layouts are PyTorch's already; docs/weights.md says how
//! a module takes them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use arrow::datatypes::{ArrowPrimitiveType, Float16Type};
use clap::{Args, Subcommand};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::json;

use super::arguments::{Global, Reading};
use super::errors::{Exit, Mistake};
use super::project;
use super::terminal::{count, say};
use crate::ground::files;
use crate::model::model_table::{table_of_tensors, tensors_of_table};
use crate::model::two_tower::Tensor;
use crate::table::{read_parquet, write_parquet};

/// What can be done with weights.
#[derive(Debug, Subcommand)]
pub(super) enum WeightsCommand {
    /// Write a model's tensors to a safetensors file, for PyTorch
    Export(ExportArguments),
    /// Make a model's table from a safetensors file, for `read_table`
    Import(ImportArguments),
}

/// The words of `weights export`.
#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// The pipeline, if not the default one, then the stage
    #[arg(value_name = "[FILE] STAGE[@VARIANT]", required = true, num_args = 1..=2)]
    words: Vec<OsString>,
    #[command(flatten)]
    reading: Reading,
    /// The file to write; which id or word each row of an embedding stands for goes beside it,
    /// as `<name>.vocabulary.parquet`
    #[arg(long, value_name = "PATH")]
    safetensors: PathBuf,
}

/// The words of `weights import`.
#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// The safetensors file; its tensors may be F32, F16 or BF16
    #[arg(value_name = "PATH.safetensors")]
    from: PathBuf,
    /// The Parquet file to write
    #[arg(value_name = "OUT.parquet")]
    to: PathBuf,
}

/// Exports or imports.
///
/// # Errors
/// If the stage has not been made, a file cannot be read or written, or it
/// holds something else.
pub(super) fn weights(global: &Global, command: &WeightsCommand) -> anyhow::Result<Exit> {
    match command {
        WeightsCommand::Export(arguments) => export(global, arguments),
        WeightsCommand::Import(arguments) => import(arguments),
    }
}

fn export(global: &Global, arguments: &ExportArguments) -> anyhow::Result<Exit> {
    let (project, stage) = match project::open_words(global, &arguments.words, &arguments.reading)? {
        Ok(opened) => opened,
        Err(exit) => return Ok(exit),
    };
    let stage = project::required_stage(stage)?;
    let resolve = |reference: &str| project.resolve(reference);
    let model = resolve(&stage).map_err(project::refused)?;
    let tensors = tensors_of_table(&read_parquet(&model.path, None)?).map_err(|error| {
        Mistake::new(format!("`{stage}` is no table of tensors"))
            .hint("name a stage that writes `model`, such as one of kind `train_two_tower`")
            .because(error)
    })?;
    let to = &arguments.safetensors;
    let vocabulary_path = to.with_extension("vocabulary.parquet");
    let vocabulary = match resolve(&output_of(&stage, "vocabulary")) {
        Ok(vocabulary) => Some(files::read_bytes(&vocabulary.path)?),
        Err(_) => None,
    };
    // One entry: the order of several is not fixed in the file.
    let about = json!({
        "pipeline": model.manifest.pipeline,
        "stage": model.id.to_string(),
        "kind": model.manifest.kind,
        "key": model.manifest.key.to_string(),
        "settings": model.manifest.fingerprint.get("settings"),
        "vocabulary": vocabulary.is_some().then(|| project::name_of(&vocabulary_path)),
    });
    files::write_atomically(to, &to_safetensors(&tensors, &about.to_string())?)?;
    if let Some(bytes) = vocabulary {
        files::write_atomically(&vocabulary_path, &bytes)?;
    }
    say(&format!("{} in {}", count(tensors.len() as u64, "tensor"), to.display()));
    Ok(Exit::Done)
}

fn import(arguments: &ImportArguments) -> anyhow::Result<Exit> {
    let tensors = of_safetensors(&files::read_bytes(&arguments.from)?, &arguments.from)?;
    let bytes = write_parquet(&table_of_tensors(&tensors)?, Vec::new())?;
    files::write_atomically(&arguments.to, &bytes)?;
    say(&format!("{} in {}", count(tensors.len() as u64, "tensor"), arguments.to.display()));
    Ok(Exit::Done)
}

/// `stage@VARIANT` as `stage.output@VARIANT`; a named output is replaced.
fn output_of(stage: &str, output: &str) -> String {
    let (name, variant) = stage.find(['@', '#']).map_or((stage, ""), |at| stage.split_at(at));
    let name = name.split('.').next().unwrap_or(name);
    format!("{name}.{output}{variant}")
}

fn to_safetensors(tensors: &[Tensor], about: &str) -> anyhow::Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|tensor| tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|(tensor, bytes)| Ok((tensor.name.as_str(), TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?)));
    let views: Vec<_> = views.collect::<Result<_, safetensors::SafeTensorError>>()?;
    let metadata = std::iter::once(("refrain".to_owned(), about.to_owned())).collect();
    Ok(safetensors::serialize(views, Some(metadata))?)
}

fn of_safetensors(bytes: &[u8], path: &Path) -> anyhow::Result<Vec<Tensor>> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| {
        Mistake::new(format!("`{}` is no safetensors file", path.display()))
            .hint("write one in Python with safetensors.torch.save_file")
            .because(error)
    })?;
    let mut tensors = Vec::new();
    let mut refused = Vec::new();
    for (name, view) in file.tensors() {
        match numbers(&view) {
            Some(values) => tensors.push(Tensor { name, shape: view.shape().to_vec(), values }),
            None => refused.push(format!("`{name}` is {:?}", view.dtype())),
        }
    }
    if !refused.is_empty() {
        let what = format!("`{}` holds tensors that are not F32, F16 or BF16: {}", path.display(), refused.join(", "));
        return Err(Mistake::new(what).hint("convert them before saving: `tensor.float()`").into());
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// A tensor's values as 32-bit floats, if it is of floats that fit.
fn numbers(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    let halves = || data.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair));
    match view.dtype() {
        Dtype::F32 => Some(data.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()),
        Dtype::F16 => {
            Some(halves().map(|bits| <Float16Type as ArrowPrimitiveType>::Native::from_bits(bits).to_f32()).collect())
        }
        Dtype::BF16 => Some(halves().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
        Tensor { name: name.to_owned(), shape: shape.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn tensors_come_back_unchanged_and_in_order_of_name() {
        let tensors = [tensor("a.weight", &[2, 2], &[1.0, -0.0, f32::MIN_POSITIVE, 0.1]), tensor("b", &[1], &[7.0])];
        let bytes = to_safetensors(&tensors, "{}").unwrap();
        assert_eq!(bytes, to_safetensors(&tensors, "{}").unwrap());
        assert_eq!(of_safetensors(&bytes, Path::new("x")).unwrap(), tensors);
        assert!(to_safetensors(&[tensor("a", &[3], &[1.0])], "{}").is_err());
        assert!(of_safetensors(b"no", Path::new("x")).unwrap_err().to_string().contains("no safetensors"));
    }

    #[test]
    fn halves_are_read_and_integers_refused() {
        let read = |dtype, bytes: &[u8]| {
            let view = TensorView::new(dtype, vec![1], bytes).unwrap();
            let bytes = safetensors::serialize([("t", view)], None).unwrap();
            of_safetensors(&bytes, Path::new("x")).map(|tensors| tensors[0].values[0])
        };
        assert!((read(Dtype::F16, &0x3E00u16.to_le_bytes()).unwrap() - 1.5).abs() < f32::EPSILON);
        assert!((read(Dtype::BF16, &0xBFC0u16.to_le_bytes()).unwrap() + 1.5).abs() < f32::EPSILON);
        assert!(read(Dtype::I32, &[0; 4]).unwrap_err().to_string().contains("`t` is I32"));
    }

    #[test]
    fn the_vocabulary_is_an_output_beside() {
        assert_eq!(output_of("model", "vocabulary"), "model.vocabulary");
        assert_eq!(output_of("model.curve@V2.1#2", "vocabulary"), "model.vocabulary@V2.1#2");
        assert_eq!(output_of("model#2", "vocabulary"), "model.vocabulary#2");
    }
}
