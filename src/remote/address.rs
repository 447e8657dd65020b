//! Where a shared store is, and the client that reaches it. Credentials come
//! from each cloud's usual variables and stand in no text that is made here.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::error::{Kind, RemoteError};
use super::profile;
use crate::ground::{ContentHash, Environment};

/// What an address may look like.
const FORMS: &str =
    "write s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, https://host/path (only read) or a folder";

/// Where a shared store is. Displays without what may be secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    place: Place,
    /// What stands before every name in it; empty or without slashes at its ends.
    pub(super) prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    S3(String),
    Gcs(String),
    Azure(String),
    Http(url::Url),
    Folder(PathBuf),
}

/// Says what is wrong with the address of a shared store; with a hint.
///
/// # Errors
/// What is wrong, and what to write.
pub fn check_address(text: &str) -> Result<(), (String, String)> {
    Address::parse(text).map(drop)
}

impl Address {
    /// Reads an address. Asks nobody.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub(super) fn parse(text: &str) -> Result<Self, (String, String)> {
        let refused = |what: &str| (format!("`{}` {what}", without_secrets(text)), FORMS.to_owned());
        let text = text.trim();
        if text.is_empty() {
            return Err(refused("is no address"));
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(Self::folder(text)) };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let place = match scheme {
            "file" if rest.starts_with('/') => return Ok(Self::folder(rest)),
            "file" => return Err(refused("is not absolute: three slashes follow `file:`")),
            "http" | "https" => {
                let mut url = url::Url::parse(text).map_err(|_| refused("is no URL"))?;
                if url.host_str().is_none_or(str::is_empty) {
                    return Err(refused("names no host"));
                }
                url.set_query(None);
                url.set_fragment(None);
                return Ok(Self { place: Place::Http(url), prefix: String::new() });
            }
            "s3" => Place::S3(name.to_owned()),
            "gs" => Place::Gcs(name.to_owned()),
            "az" => Place::Azure(name.to_owned()),
            _ => return Err(refused("is an address of a sort that is not known")),
        };
        if name.is_empty() || name.contains(['@', '?', '#', ' ']) {
            return Err(refused("names no bucket"));
        }
        Ok(Self { place, prefix: prefix.trim_matches('/').to_owned() })
    }

    fn folder(path: &str) -> Self {
        Self { place: Place::Folder(PathBuf::from(path)), prefix: String::new() }
    }

    /// A short name for files that say where something came from: the same for
    /// the same place, however it is written.
    pub(super) fn id(&self) -> String {
        let text = match &self.place {
            Place::Folder(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
            _ => self.to_string(),
        };
        ContentHash::of(text.trim_end_matches('/').as_bytes()).short()
    }

    /// Whether nothing can be written there.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self.place, Place::Http(_))
    }

    /// The client for it.
    ///
    /// # Errors
    /// [`RemoteError`] if settings of the environment do not fit, or a folder is not there.
    pub(super) fn open(&self, timeout: Duration) -> Result<Arc<dyn ObjectStore>, RemoteError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only if another thread was quicker with the same.
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        let failed = |error: object_store::Error| RemoteError::of("open", &self.to_string(), &error);
        let (options, retry) = (client(timeout), patience(timeout));
        Ok(match &self.place {
            Place::S3(bucket) => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
                let builder = profile::fill_in(builder, &Environment::of_process());
                // An endpoint without encryption is one that the user wrote.
                let options = options.with_allow_http(true);
                Arc::new(builder.with_client_options(options).with_retry(retry).build().map_err(failed)?)
            }
            Place::Gcs(bucket) => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
                Arc::new(builder.with_client_options(options).with_retry(retry).build().map_err(failed)?)
            }
            Place::Azure(container) => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
                let options = options.with_allow_http(true);
                Arc::new(builder.with_client_options(options).with_retry(retry).build().map_err(failed)?)
            }
            Place::Http(url) => {
                let options = options.with_allow_http(url.scheme() == "http");
                let builder = HttpBuilder::new().with_url(url.as_str());
                Arc::new(builder.with_client_options(options).with_retry(retry).build().map_err(failed)?)
            }
            Place::Folder(path) => Arc::new(
                open_folder(path)
                    .map_err(|reason| RemoteError::new(Kind::Unreachable, "open", &self.to_string(), reason))?,
            ),
        })
    }
}

/// A folder, which is made if the one above it is there: of a disk that is not
/// mounted not even that is.
fn open_folder(path: &std::path::Path) -> Result<LocalFileSystem, String> {
    match std::fs::create_dir(path) {
        // It was there, or another run has made it in this moment.
        Err(_) if path.is_dir() => {}
        made => made.map_err(|error| format!("the folder is not there and cannot be made: {error}"))?,
    }
    let opened = LocalFileSystem::new_with_prefix(path).map_err(|error| error.to_string())?;
    Ok(opened.with_fsync(true))
}

/// No time for a whole request: large bodies take as long as they take. Whoever
/// sends one keeps the time (`bucket.rs`).
fn client(timeout: Duration) -> ClientOptions {
    let connect = timeout.min(Duration::from_secs(5));
    let agent = concat!("refrain/", env!("CARGO_PKG_VERSION"));
    let options = ClientOptions::new().with_timeout_disabled().with_connect_timeout(connect);
    match agent.parse() {
        Ok(agent) => options.with_user_agent(agent),
        Err(_) => options,
    }
}

fn patience(timeout: Duration) -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 5, retry_timeout: timeout }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, name) = match &self.place {
            Place::S3(bucket) => ("s3", bucket),
            Place::Gcs(bucket) => ("gs", bucket),
            Place::Azure(container) => ("az", container),
            Place::Http(url) => return f.write_str(&without_secrets(url.as_str())),
            Place::Folder(path) => return path.display().fmt(f),
        };
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{scheme}://{name}{slash}{}", self.prefix)
    }
}

/// A text without what addresses in it may hide: names and passwords before a
/// host, and queries.
pub(super) fn without_secrets(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        kept.push_str(before);
        kept.push_str("://");
        let end = after.find([' ', '"', '\'', ')', '`', '\n']).unwrap_or(after.len());
        let (address, tail) = after.split_at(end);
        let address = address.split_once('?').map_or(address, |(address, _)| address);
        let (host, path) = address.split_once('/').map_or((address, None), |(host, path)| (host, Some(path)));
        kept.push_str(host.rsplit_once('@').map_or(host, |(_, host)| host));
        if let Some(path) = path {
            kept.push('/');
            kept.push_str(path);
        }
        rest = tail;
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Address::parse(text).map_or_else(|(what, _)| what, |address| address.to_string())
    }

    #[test]
    fn addresses_are_read_and_shown() {
        assert_eq!(shown("s3://lab/refrain/"), "s3://lab/refrain");
        assert_eq!(shown("gs://lab"), "gs://lab");
        assert_eq!(shown("az://box/a/b"), "az://box/a/b");
        assert_eq!(shown("file:///srv/lab"), "/srv/lab");
        assert_eq!(shown("../lab"), "../lab");
        assert_eq!(shown("https://ann:secret@lab.example/store?sig=abc"), "https://lab.example/store");
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_secrets() {
        for text in ["", "s3://", "s3:///prefix", "file://lab/store", "ftp://lab", "az://a?b", "https://"] {
            let (what, hint) = Address::parse(text).expect_err(text);
            assert!(!what.is_empty() && hint.contains("s3://bucket/prefix"), "{what}");
        }
        assert_eq!(shown("ftp://ann:secret@lab"), "`ftp://lab` is an address of a sort that is not known");
    }

    #[test]
    fn secrets_are_cut_out_of_addresses_in_texts() {
        let text = "GET https://x.example/a?sig=abc&se=1) in 2 s: \"http://ann:pw@h/b\" failed? yes";
        assert_eq!(without_secrets(text), "GET https://x.example/a) in 2 s: \"http://h/b\" failed? yes");
    }

    #[test]
    fn one_place_has_one_name() {
        let id = |text: &str| Address::parse(text).map(|address| address.id()).expect("an address");
        assert_eq!(id("s3://lab/a/"), id("s3://lab/a"));
        assert_eq!(id("lab"), id("./lab"));
        assert_ne!(id("s3://lab/a"), id("s3://lab/b"));
        assert_eq!(id("s3://lab/a").len(), 12);
    }

    #[test]
    fn runs_that_begin_together_may_all_make_the_folder() {
        let above = tempfile::tempdir().expect("a folder");
        for round in 0..200 {
            let path = above.path().join(round.to_string());
            let together = std::sync::Barrier::new(4);
            let open = || {
                together.wait();
                open_folder(&path).map(drop)
            };
            let opened = std::thread::scope(|scope| {
                [(); 4].map(|()| scope.spawn(open)).map(|thread| thread.join().expect("no panic"))
            });
            assert!(opened.iter().all(Result::is_ok), "{opened:?}");
        }
    }

    #[test]
    fn a_folder_is_made_only_where_the_one_above_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |name: &str| {
            let path = folder.path().join(name).display().to_string();
            Address::parse(&path).expect("an address").open(Duration::from_secs(1))
        };
        assert!(open("lab").is_ok() && folder.path().join("lab").is_dir());
        let error = open("not/mounted").expect_err("refused");
        assert!(error.is_unreachable() && !folder.path().join("not").exists(), "{error}");
    }
}
