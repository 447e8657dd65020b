//! Fetching one file from a plain URL: a model's weights. Not for services:
//! nothing here is limited, retried or remembered.

use std::time::Duration;

/// The connection must stand after this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence while the answer arrives.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Why a file could not be downloaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not download {url}: {why}")]
pub struct DownloadError {
    /// The URL as given.
    pub url: String,
    /// The reason, as far down as it is known.
    pub why: String,
}

/// Downloads a file into memory, following redirects; a proxy is used as the
/// environment says, except for this machine's own addresses.
///
/// `on_progress` is told how many bytes have arrived after each piece.
///
/// # Errors
/// [`DownloadError`] if there is no connection within 10 s, no byte for 60 s,
/// the status is not 200, or the file is longer than `max_bytes`.
pub async fn download(url: &str, max_bytes: u64, on_progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<u8>, DownloadError> {
    let failed = |why: String| DownloadError { url: url.to_owned(), why };
    let told = |error: reqwest::Error| failed(chain_of(&error.without_url()));
    let parsed = url::Url::parse(url).map_err(|error| failed(error.to_string()))?;
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only if another thread was quicker with the same.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    let builder = reqwest::Client::builder()
        .user_agent(concat!("refrain/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(IDLE_TIMEOUT)
        .https_only(parsed.scheme() == "https");
    let builder = if is_of_this_machine(&parsed) { builder.no_proxy() } else { builder };
    let mut response = builder.build().map_err(told)?.get(parsed).send().await.map_err(told)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(failed(format!("the server answered {}", response.status())));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(told)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > max_bytes {
            return Err(failed(format!("it is longer than {max_bytes} bytes")));
        }
        on_progress(bytes.len() as u64);
    }
    Ok(bytes)
}

pub(super) fn is_of_this_machine(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// An error and its causes in one line.
pub(super) fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::response::Redirect;
    use axum::routing::get;

    use super::*;

    async fn server() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route("/file", get(|| async { "0123456789" }))
            .route("/moved", get(|| async { Redirect::temporary("/file") }))
            .route("/gone", get(|| async { StatusCode::GONE }));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn a_file_arrives_whole_through_a_redirect() {
        let url = server().await + "/moved";
        let seen = std::sync::atomic::AtomicU64::new(0);
        let on_progress = |bytes| seen.store(bytes, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(download(&url, 10, &on_progress).await.unwrap(), b"0123456789");
        assert_eq!(seen.into_inner(), 10);
    }

    #[tokio::test]
    async fn failures_name_the_url_and_the_reason() {
        let base = server().await;
        let why = async |url: &str, limit| download(url, limit, &|_| ()).await.unwrap_err().to_string();
        let url = format!("{base}/gone");
        assert_eq!(why(&url, 10).await, format!("could not download {url}: the server answered 410 Gone"));
        assert!(why(&format!("{base}/file"), 9).await.ends_with("it is longer than 9 bytes"));
        assert!(why("http://127.0.0.1:1/", 9).await.contains("refused"), "{}", why("http://127.0.0.1:1/", 9).await);
        assert!(why("no url", 9).await.starts_with("could not download no url: "));
    }
}
