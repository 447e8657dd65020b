//! What may be typed after `refrain push` and `refrain pull`.

use std::ffi::OsString;

use clap::Args;

use super::Reading;

pub(super) const SHARING_HELP: &str = "\
The shared store is the pipeline's `store: { remote: … }`, REFRAIN_REMOTE, or --remote:
  s3://bucket/prefix   AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION; AWS_ENDPOINT_URL for MinIO, R2, …
  gs://bucket/prefix   GOOGLE_APPLICATION_CREDENTIALS
  az://container/…     AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN
  https://host/path    only read
  /a/folder            a disk that several machines see

What is there already is not moved again, so both go on where they were stopped.";

#[derive(Debug, Args)]
pub(in crate::cli) struct PushArguments {
    /// The pipeline, if not the default one, then stages; all if none is named
    #[arg(value_name = "[FILE] STAGE[@VARIANT]")]
    pub(in crate::cli) words: Vec<OsString>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// Replace other results of the same keys that are there
    #[arg(long)]
    pub(in crate::cli) force: bool,
    /// Send every result of this store, whichever pipeline it is of
    #[arg(long, conflicts_with = "words")]
    pub(in crate::cli) everything: bool,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PullArguments {
    /// The pipeline, if not the default one, then stages; all if none is named
    #[arg(value_name = "[FILE] STAGE[@VARIANT]")]
    pub(in crate::cli) words: Vec<OsString>,
    #[command(flatten)]
    pub(in crate::cli) reading: Reading,
    /// Fetch the answers and vectors of the memo as well
    #[arg(long)]
    pub(in crate::cli) memo: bool,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
