//! Handing documents to a server that collects them, such as one of
//! `OpenLineage`. Not for services whose answers count: nothing here is
//! limited, retried or remembered, and it gives up soon.

use std::time::Duration;

use super::call::Secret;
use super::download::{chain_of, is_of_this_machine};

/// The connection must stand after this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The whole exchange may take this long.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Posts JSON to one address.
#[derive(Debug)]
pub struct Deliverer {
    client: reqwest::Client,
    url: url::Url,
    bearer: Option<Secret>,
}

impl Deliverer {
    /// For that address. Redirects are not followed, so that the key goes to
    /// one host; a proxy is used as the environment says, except for this
    /// machine's own addresses.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn new(url: &str, bearer: Option<Secret>) -> Result<Self, String> {
        let url = url::Url::parse(url).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("it is not an http or https address".to_owned());
        }
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only if another thread was quicker with the same.
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        let builder = reqwest::Client::builder()
            .user_agent(concat!("refrain/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        let builder = if is_of_this_machine(&url) { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| chain_of(&error.without_url()))?;
        Ok(Self { client, url, bearer })
    }

    /// Posts one document.
    ///
    /// # Errors
    /// Why it did not arrive, without the address and without the key.
    pub async fn post(&self, document: &serde_json::Value) -> Result<(), String> {
        let mut request = self.client.post(self.url.clone()).json(document);
        if let Some(secret) = &self.bearer {
            request = request.bearer_auth(secret.reveal());
        }
        let answer = request.send().await.map_err(|error| chain_of(&error.without_url()))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("the server answered {status}")) }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::Redirect;
    use axum::routing::post;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_document_arrives_with_the_key_and_refusals_are_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let guarded = |headers: HeaderMap| async move {
            let key = headers.get("authorization").and_then(|value| value.to_str().ok().map(str::to_owned));
            if key.as_deref() == Some("Bearer k") { StatusCode::CREATED } else { StatusCode::FORBIDDEN }
        };
        let routes = Router::new()
            .route("/here", post(guarded))
            .route("/moved", post(|| async { Redirect::temporary("/here") }));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let send = async |path: &str, key: Option<&str>| {
            let to = Deliverer::new(&format!("{base}{path}"), key.map(Secret::new)).unwrap();
            to.post(&json!({ "a": 1 })).await
        };
        assert_eq!(send("/here", Some("k")).await, Ok(()));
        assert_eq!(send("/here", None).await, Err("the server answered 403 Forbidden".to_owned()));
        assert!(send("/moved", Some("k")).await.unwrap_err().contains("307"), "the key follows no redirect");
        let nobody = Deliverer::new("http://127.0.0.1:1/x", None).unwrap().post(&json!({})).await.unwrap_err();
        assert!(nobody.contains("refused") && !nobody.contains("127.0.0.1:1/x"), "{nobody}");
        assert!(Deliverer::new("ftp://x/", None).is_err() && Deliverer::new("no address", None).is_err());
    }
}
