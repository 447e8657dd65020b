//! For the tests of kinds that ask APIs: a server on the loopback that answers
//! by a function, and a stage run on tables in memory against it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::ground::{Environment, ManualClock};
use crate::memo::VectorMemo;
use crate::model::Models;
use crate::people::People;
use crate::stage::{Input, MemorySink, OutputSink, Progress, RowEnd, StageContext, StageError, StageKind};
use crate::table::{Table, TableError};
use crate::web::{Client, ClientSettings, Endpoints, ManualTimer, OnWarning};

/// A server, and a client that knows no other.
pub(super) struct Lab {
    url: String,
    asked: Arc<Mutex<usize>>,
    memo: Option<tempfile::TempDir>,
    names: Option<(tempfile::TempDir, Arc<People>)>,
    clock: Arc<ManualClock>,
    warnings: Arc<Warnings>,
}

#[derive(Debug, Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn total(&self, _rows: u64) {}
    fn advance(&self, _rows: u64) {}
    fn ended(&self, _end: RowEnd<'_>) {}
    fn note(&self, _text: &str) {}
    fn warn(&self, text: &str) {
        self.0.lock().expect("warnings").push(text.to_owned());
    }
}

struct SharedSink(Arc<Mutex<MemorySink>>);

impl OutputSink for SharedSink {
    fn append(&mut self, port: &str, table: &Table) -> Result<(), TableError> {
        self.0.lock().expect("a sink").append(port, table)
    }
}

impl Lab {
    /// A server that answers a path and query (and, after a space, a body) with
    /// a status and a text.
    pub(super) async fn new(world: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(0));
        let (count, world) = (Arc::clone(&asked), Arc::new(world));
        let app = Router::new().fallback(move |request: Request| {
            let (count, world) = (Arc::clone(&count), Arc::clone(&world));
            async move {
                *count.lock().expect("a count") += 1;
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
                let (status, text) = world(format!("{} {}", parts.uri, String::from_utf8_lossy(&body)).trim_end());
                (StatusCode::from_u16(status).expect("a status"), text)
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            url,
            asked,
            memo: None,
            names: None,
            clock: Arc::new(ManualClock::at(1_000_000)),
            warnings: Arc::default(),
        }
    }

    /// The same with a memo, which all its runs share.
    pub(super) fn remembering(mut self) -> Self {
        self.memo = Some(tempfile::tempdir().expect("a folder"));
        self
    }

    /// The same with a place to keep whom pseudonyms stand for.
    pub(super) fn keeping_names(mut self) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let people = Arc::new(People::new(folder.path().to_owned()));
        self.names = Some((folder, people));
        self
    }

    /// Whom pseudonyms stand for.
    pub(super) fn people(&self) -> &People {
        &self.names.as_ref().expect("a place to keep names").1
    }

    /// Lets time go by.
    pub(super) fn wait(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn client(&self, memo_only: bool) -> Result<Client, StageError> {
        let warnings = Arc::clone(&self.warnings);
        Ok(Client::new(ClientSettings {
            endpoints: Endpoints::sandbox(&self.url, "sandbox:test"),
            memo: self.memo.as_ref().map(|folder| folder.path().join("http")),
            memo_only,
            clock: Arc::<ManualClock>::clone(&self.clock),
            timer: Arc::new(ManualTimer::default()),
            on_warning: OnWarning::new(move |text| warnings.warn(text)),
            ..ClientSettings::default()
        })?)
    }

    fn vectors(&self) -> Option<Arc<VectorMemo>> {
        let folder = self.memo.as_ref()?.path().join("vectors");
        Some(Arc::new(VectorMemo::new(folder, Arc::<ManualClock>::clone(&self.clock))))
    }

    /// How many rows a stage says are known, as it is told; nothing is asked.
    pub(super) fn known(
        &self,
        kind: &dyn StageKind,
        with: &Value,
        inputs: Vec<(&str, Table)>,
        max_age: Option<Duration>,
    ) -> String {
        let stage = kind.parse(with).unwrap_or_else(|problems| panic!("{problems:?}"));
        let client = self.client(true).unwrap_or_else(|error| panic!("{error}"));
        let inputs = inputs.into_iter().map(|(port, table)| (port.to_owned(), vec![Input::of_table(port, table)]));
        let session = client.session(max_age, CancellationToken::new());
        let models = Arc::new(Models::default());
        let vectors = self.vectors();
        let context = StageContext::of_memo(inputs.collect(), &session, vectors, models, Environment::default());
        let before = self.asked();
        let told = std::thread::scope(|scope| scope.spawn(|| stage.known(&context)).join()).expect("no panic");
        assert_eq!(self.asked(), before, "counting asks nothing");
        told.map_or_else(|| "nothing".to_owned(), |known| known.to_string())
    }

    /// Runs a stage, and gives its outputs by port.
    pub(super) async fn run(
        &self,
        kind: &dyn StageKind,
        with: Value,
        inputs: Vec<(&str, Table)>,
    ) -> Result<BTreeMap<String, Table>, StageError> {
        self.run_within(kind, with, inputs, None).await
    }

    /// The same, taking from the memo only what is not older than `max_age`.
    pub(super) async fn run_within(
        &self,
        kind: &dyn StageKind,
        with: Value,
        inputs: Vec<(&str, Table)>,
        max_age: Option<Duration>,
    ) -> Result<BTreeMap<String, Table>, StageError> {
        let stage = kind.parse(&with).unwrap_or_else(|problems| panic!("{problems:?}"));
        let client = self.client(false)?;
        let sink = Arc::new(Mutex::new(MemorySink::default()));
        let inputs = inputs.into_iter().map(|(port, table)| (port, vec![Input::of_table(port, table)])).collect();
        let mut context = StageContext::for_test(inputs, Box::new(SharedSink(Arc::clone(&sink))));
        context.web = client.session(max_age, CancellationToken::new());
        context.progress = Arc::<Warnings>::clone(&self.warnings);
        context.people = self.names.as_ref().map(|(_, people)| Arc::clone(people));
        context.vectors = self.vectors();
        stage.run(&context).await?;
        let outputs = std::mem::take(&mut sink.lock().expect("a sink").0);
        assert!(stage.outputs().iter().all(|port| outputs.contains_key(&*port.name)), "every output is written");
        Ok(outputs.into_iter().map(|(port, mut tables)| (port, tables.remove(0))).collect())
    }

    /// All bytes of the memo's files.
    pub(super) fn memo_bytes(&self) -> Vec<u8> {
        let folder = self.memo.as_ref().expect("a memo").path().join("http");
        let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
        files.filter(|path| path.is_file()).flat_map(|path| std::fs::read(path).expect("bytes")).collect()
    }

    /// How many requests there were.
    pub(super) fn asked(&self) -> usize {
        *self.asked.lock().expect("a count")
    }

    /// What the stages have warned of.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.0.lock().expect("warnings").clone()
    }
}

/// The value of a name in the query of `target`, or nothing.
pub(super) fn param(target: &str, name: &str) -> String {
    let url = url::Url::parse(&format!("http://x{target}")).expect("a target");
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// A column of texts.
pub(super) fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(values.iter().map(|value| Some(*value)).collect::<StringArray>())
}

/// The rows of a table, each as its cells joined by `|`; nulls are empty.
pub(super) fn cells(table: &Table) -> Vec<String> {
    let columns: Vec<ArrayRef> = table
        .column_names()
        .iter()
        .map(|name| cast(&table.column(name).expect("a column"), &DataType::Utf8).expect("a text"))
        .collect();
    let cell = |column: &ArrayRef, row: usize| {
        let texts = column.as_string::<i32>();
        if texts.is_null(row) { String::new() } else { texts.value(row).to_owned() }
    };
    (0..table.rows()).map(|row| columns.iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|")).collect()
}
