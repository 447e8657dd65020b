//! Who is answered: only what asks this machine by a name of the loopback,
//! so that no page of the web can read the view by pointing a name of its own
//! at 127.0.0.1; and only GET. And what every answer says of itself.

use std::net::IpAddr;

use axum::http::header::{HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// What goes with every answer. Nothing is loaded from elsewhere, no script or
/// style stands in a page, no page may be framed, no address is told to others.
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-frame-options", "DENY"),
];

/// The answer to a request that is not answered otherwise.
pub(super) fn refusal(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    if method != Method::GET {
        let allow = [(header::ALLOW, HeaderValue::from_static("GET"))];
        return Some((StatusCode::METHOD_NOT_ALLOWED, allow, "this view only answers GET\n").into_response());
    }
    let hosts: Vec<&HeaderValue> = headers.get_all(header::HOST).iter().collect();
    let is_local = match (hosts.as_slice(), uri.authority()) {
        ([host], None) => host.to_str().is_ok_and(is_loopback),
        ([host], Some(authority)) => host.to_str().is_ok_and(is_loopback) && is_loopback(authority.as_str()),
        _ => false,
    };
    (!is_local).then(|| {
        let text = "this view answers only at 127.0.0.1 and localhost\n";
        (StatusCode::FORBIDDEN, text).into_response()
    })
}

/// Whether a `Host` names the loopback, with or without a port.
fn is_loopback(host: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && (!host.starts_with('[') || name.ends_with(']')) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Adds what goes with every answer.
pub(super) fn harden(response: &mut Response) {
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let keep = HeaderValue::from_static("no-store");
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(keep);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_are_local() {
        for host in ["127.0.0.1", "127.0.0.1:8484", "localhost:1", "LOCALHOST", "[::1]:80", "[::1]", "127.9.9.9:5"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "example.com:8484",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "10.0.0.1",
            "0.0.0.0:8484",
            "localhost:",
            "localhost:x",
            "[::2]:80",
            "127.0.0.1:80:80",
            "evil@localhost",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn other_methods_and_other_hosts_are_refused() {
        let status = |method: Method, hosts: &[&str], uri: &str| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, host.parse().unwrap());
            }
            refusal(&method, &uri.parse().unwrap(), &headers).map(|response| response.status().as_u16())
        };
        assert_eq!(status(Method::GET, &["localhost:8484"], "/"), None);
        assert_eq!(status(Method::POST, &["localhost:8484"], "/"), Some(405));
        assert_eq!(status(Method::HEAD, &["localhost:8484"], "/"), Some(405));
        assert_eq!(status(Method::GET, &["rebound.example:8484"], "/"), Some(403));
        assert_eq!(status(Method::GET, &[], "/"), Some(403));
        assert_eq!(status(Method::GET, &["localhost", "example.com"], "/"), Some(403));
        assert_eq!(status(Method::GET, &["localhost"], "http://example.com/"), Some(403));
    }
}
