//! Stages whose rows can be worked on apart from each other.

/// How the rows of a stage's input may be cut into shards: each row of every
/// output comes from one row of this input alone, has that row's key, and stands
/// in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharding {
    /// The input whose rows are worked on one by one.
    pub port: String,
    /// The column of it, and of every output, that tells its rows apart.
    pub key: String,
}

impl Sharding {
    /// By the rows of a port and the column that tells them apart.
    pub fn new(port: impl Into<String>, key: impl Into<String>) -> Self {
        Self { port: port.into(), key: key.into() }
    }
}
