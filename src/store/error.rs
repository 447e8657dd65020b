//! What can go wrong in the store.

use crate::ground::files::FileError;
use crate::table::TableError;

/// Why the store could not do what was asked. Damage is never an error here:
/// see [`crate::store::ObjectState`] and [`crate::store::Store::take_warnings`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of the store could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A table could not be written as Parquet.
    #[error(transparent)]
    Table(#[from] TableError),
    /// An output was finished without ever being given a table.
    #[error("an output was finished before any table, even an empty one, was written to it")]
    NoTable,
    /// A record of the store could not be turned into JSON.
    #[error("could not encode {what}")]
    Encode {
        /// Which record.
        what: &'static str,
        /// The encoder's reason.
        #[source]
        source: serde_json::Error,
    },
}
