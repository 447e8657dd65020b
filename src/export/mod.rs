//! Lineage for others: what a pipeline made, in the words of RO-Crate, MLflow
//! and `OpenLineage`. Reads plans, manifests and artifacts; makes nothing that
//! the store keeps, and knows no kind by name.

mod error;
mod folder;
mod lineage;
mod mlflow;
mod openlineage;
mod ro_crate;

pub use error::ExportError;
pub use lineage::Lineage;
pub use mlflow::export_mlflow;
pub use openlineage::{OpenLineage, Target};
pub use ro_crate::{CrateOptions, Exported, export_ro_crate};
