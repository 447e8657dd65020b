//! The client against a server that writes exact bytes: faults for which HTTP
//! libraries are too polite.

use futures::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};

use super::*;

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
/// Shorter than any request takes here.
const BLINK: Duration = Duration::from_millis(60);

/// A server that has been sent a request, and now does with the socket what it is told.
type Act = dyn Fn(usize, TcpStream) -> BoxFuture<'static, ()> + Send + Sync;

/// A lab whose server reads the head of each request and then acts on the socket.
async fn wire<F: Future<Output = ()> + Send + 'static>(
    act: impl Fn(usize, TcpStream) -> F + Send + Sync + 'static,
) -> Lab {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let act: Arc<Act> = Arc::new(move |n, socket| Box::pin(act(n, socket)));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (act, log) = (Arc::clone(&act), Arc::clone(&log));
            tokio::spawn(async move {
                let Some(head) = head(&mut socket).await else { return };
                let n = {
                    let mut log = log.lock().expect("a log");
                    log.push(head);
                    log.len() - 1
                };
                act(n, socket).await;
            });
        }
    });
    Lab::at(url, asked)
}

/// The head of a request; none if the connection is closed before.
async fn head(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(socket.read_u8().await.ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// A lab whose server writes `bad` to its first request and closes, and is well afterwards.
async fn bad_at_first(bad: Vec<u8>) -> Lab {
    wire(move |n, mut socket| {
        let bytes = if n == 0 { bad.clone() } else { GOOD.to_vec() };
        async move {
            socket.write_all(&bytes).await.ok();
            socket.shutdown().await.ok();
        }
    })
    .await
}

/// Asks once; there must be an answer after as many requests.
async fn survives(lab: &Lab, requests: usize) {
    let client = lab.client(|settings| {
        settings.timeouts.headers = BLINK;
        settings.timeouts.idle = BLINK;
    });
    let answer = client.session(None, CancellationToken::new()).ask(&call("RJ")).await.expect("an answer");
    assert_eq!((answer.text().as_ref(), lab.asked()), ("{}", requests));
}

#[tokio::test]
async fn a_stall_before_the_answer_times_out() {
    let lab = wire(|n, mut socket| async move {
        if n == 0 {
            futures::future::pending::<()>().await;
        }
        socket.write_all(GOOD).await.ok();
    })
    .await;
    survives(&lab, 2).await;
}

#[tokio::test]
async fn a_stall_within_the_head_times_out() {
    let lab = wire(|n, mut socket| async move {
        if n == 0 {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await.ok();
            futures::future::pending::<()>().await;
        }
        socket.write_all(GOOD).await.ok();
    })
    .await;
    survives(&lab, 2).await;
}

#[tokio::test]
async fn a_stall_within_the_body_times_out() {
    let lab = wire(|n, mut socket| async move {
        if n == 0 {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{").await.ok();
            futures::future::pending::<()>().await;
        }
        socket.write_all(GOOD).await.ok();
    })
    .await;
    survives(&lab, 2).await;
}

#[tokio::test]
async fn a_body_that_trickles_for_ever_ends_with_the_whole_time() {
    let lab = wire(|n, mut socket| async move {
        if n > 0 {
            socket.write_all(GOOD).await.ok();
            return;
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8000000\r\n\r\n").await.ok();
        while socket.write_all(b" ").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let client = lab.client(|settings| settings.timeouts.whole = BLINK * 3);
    client.session(None, CancellationToken::new()).ask(&call("RJ")).await.expect("an answer");
    assert_eq!(lab.asked(), 2);
}

#[tokio::test]
async fn half_a_status_line_is_no_answer() {
    survives(&bad_at_first(b"HTTP/1.1 20".to_vec()).await, 2).await;
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    survives(&bad_at_first(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()).await, 2).await;
}

#[tokio::test]
async fn a_body_that_is_shorter_than_promised_is_no_answer() {
    survives(&bad_at_first(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{}".to_vec()).await, 2).await;
}

#[tokio::test]
async fn a_body_that_is_longer_than_promised_is_half_an_answer() {
    survives(&bad_at_first(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{\"user\":{}}".to_vec()).await, 2).await;
}

#[tokio::test]
async fn half_a_gzip_stream_is_no_answer() {
    let zipped = gzip(br#"{"user":{"name":"RJ","realname":"Richard","country":"United Kingdom"}}"#);
    let half = &zipped[..zipped.len() / 2];
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", half.len());
    survives(&bad_at_first([head.as_bytes(), half].concat()).await, 2).await;
}

#[tokio::test]
async fn a_chunk_whose_length_is_no_number_is_no_answer() {
    survives(&bad_at_first(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n".to_vec()).await, 2)
        .await;
}

#[tokio::test]
async fn a_connection_that_is_reset_is_tried_again() {
    let lab = wire(|n, mut socket| async move {
        if n == 0 {
            socket.set_zero_linger().expect("a socket");
            return;
        }
        socket.write_all(GOOD).await.ok();
    })
    .await;
    survives(&lab, 2).await;
}

/// 200 MB, made as they are written: how many bytes the server was rid of.
async fn giant(head: &'static str) -> (Lab, Arc<AtomicUsize>) {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let lab = wire(move |_, mut socket| {
        let count = Arc::clone(&count);
        async move {
            socket.write_all(head.as_bytes()).await.ok();
            let piece = vec![b' '; 64 << 10];
            while count.load(Ordering::SeqCst) < 200_000_000 && socket.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    (lab, written)
}

/// What may lie in the buffers of two sockets.
const IN_BUFFERS: usize = 24 << 20;

#[tokio::test]
async fn an_answer_of_200_mb_is_read_up_to_the_limit_and_no_further() {
    let (lab, written) = giant("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
    let client = lab.client(|settings| settings.max_body_bytes = 1_000_000);
    let reason = row(client.session(None, CancellationToken::new()).ask(&call("RJ")).await);
    assert_eq!((reason.as_str(), lab.asked()), ("the answer is longer than 1000000 bytes", 1));
    assert!(written.load(Ordering::SeqCst) < 1_000_000 + IN_BUFFERS);
}

#[tokio::test]
async fn an_answer_that_promises_200_mb_is_not_read_at_all() {
    let (lab, written) = giant("HTTP/1.1 200 OK\r\ncontent-length: 200000000\r\n\r\n").await;
    let reason = row(lab.session().ask(&call("RJ")).await);
    assert_eq!((reason.as_str(), lab.asked()), ("the answer is longer than 8388608 bytes", 1));
    assert!(written.load(Ordering::SeqCst) < IN_BUFFERS);
}

#[tokio::test]
async fn a_bomb_of_gzip_is_unpacked_up_to_the_limit() {
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 1 << 20, "it is small on the wire");
    let lab = Lab::new(move |_, _| Reply::Say(200, &[("content-encoding", "gzip")], bomb.clone())).await;
    let client = lab.client(|settings| settings.max_body_bytes = 1_000_000);
    let reason = row(client.session(None, CancellationToken::new()).ask(&call("RJ")).await);
    assert_eq!((reason.as_str(), lab.asked()), ("the answer is longer than 1000000 bytes", 1));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed_and_no_credentials_leave() {
    let other = wire(|_, mut socket| async move { socket.write_all(GOOD).await.expect("a socket") }).await;
    let there = format!("{}/?api_key=stolen", other.url);
    let lab = Lab::new(move |n, _| {
        if n > 0 {
            return say(200, "{}");
        }
        Reply::Say(302, Box::leak(Box::new([("location", &*there.clone().leak())])), vec![])
    })
    .await;
    lab.session().ask(&call("RJ")).await.expect("an answer at last");
    assert_eq!((lab.asked(), other.asked()), (2, 0));
}

/// A certificate for `localhost` that nobody has signed, and its key, which is used for nothing else.
const CERTIFICATE: &str = "\
MIIBmjCCAUGgAwIBAgIUP0tn1tB9uSEgGXIdKV9zW/y3GZkwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNjE3MTAzNVoYDzIxMjYxMTAy
MTcxMDM1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQ/V9aip8lT3wdaKgKIhuJns5D4kvBb6RLw0N+QErLBVjnJ5E35D4Cq
fU4LJyOBrts9F/Vip4B1GByXGLYLpoDso28wbTAdBgNVHQ4EFgQUKng5EucC9bnA
Elyz+xab7rxym+UwHwYDVR0jBBgwFoAUKng5EucC9bnAElyz+xab7rxym+UwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDRwAwRAIgNJTJjVmiSPHrRhSOaLpk8NRDYAoza6kv/v0JfuyWS4gCIE/b
6G9A62I+3mmxPwpGFB6z6l+M8ivJeXH75gxhZmyl
";
const KEY_OF_CERTIFICATE: &str = "\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1yXsT+mZBTHR4t19
jXpHNKLvrR1avXFUt/C5ITGweyChRANCAAQ/V9aip8lT3wdaKgKIhuJns5D4kvBb
6RLw0N+QErLBVjnJ5E35D4CqfU4LJyOBrts9F/Vip4B1GByXGLYLpoDs
";

fn tls() -> tokio_rustls::TlsAcceptor {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let pem = |what: &str, text: &str| format!("-----BEGIN {what}-----\n{text}-----END {what}-----\n");
    let certificate =
        CertificateDer::from_pem_slice(pem("CERTIFICATE", CERTIFICATE).as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(pem("PRIVATE KEY", KEY_OF_CERTIFICATE).as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(vec![certificate], key);
    tokio_rustls::TlsAcceptor::from(Arc::new(config.expect("a server")))
}

#[tokio::test]
async fn a_certificate_that_fails_stops_the_provider_before_anything_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heads = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        let tls = tls();
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(mut stream) = tls.accept(socket).await
                && stream.read_u8().await.is_ok()
            {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let base_url = format!("https://localhost:{port}");
    let lab = Lab::at(base_url.clone(), Arc::default());
    let endpoint = Endpoint { base_url, identity: "tls".into(), paced: false };
    let client = lab.client(|settings| settings.endpoints = Endpoints::default().with("lastfm", endpoint));
    let session = client.session(None, CancellationToken::new());
    let error = whole(session.ask(&call("RJ")).await);
    assert!(
        error.to_string().contains(&format!("localhost:{port} cannot be trusted: invalid peer certificate")),
        "{error}"
    );
    assert!(error.hint().expect("a hint").contains("certificates"));
    assert!(matches!(whole(session.ask(&call("other")).await), WebError::Stopped { .. }));
    assert_eq!((session.requests(), heads.load(Ordering::SeqCst)), (1, 0), "one attempt, and not a byte of it");
}

#[tokio::test]
async fn a_name_that_does_not_exist_stops_the_provider_at_once() {
    let lab = Lab::at("https://nonexistent.invalid".into(), Arc::default());
    let endpoint = Endpoint { base_url: lab.url.clone(), identity: "none".into(), paced: false };
    let client = lab.client(|settings| {
        settings.endpoints = Endpoints::default().with("lastfm", endpoint);
        settings.timeouts.connect = Duration::from_secs(2);
    });
    let session = client.session(None, CancellationToken::new());
    let error = whole(session.ask(&call("RJ")).await);
    assert!(error.to_string().contains("there is no connection to nonexistent.invalid: "), "{error}");
    assert!(error.hint().expect("a hint").contains("check the address"));
    assert!(session.requests() <= 3, "a mistyped address is not tried for long");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_tried_three_times() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let lab = Lab::at(format!("http://{free}"), Arc::default());
    let session = lab.session();
    let error = whole(session.ask(&call("RJ")).await).to_string();
    assert!(error.contains(&format!("there is no connection to {free}: ")) && error.contains("refused"), "{error}");
    assert_eq!(session.requests(), 3);
    assert!(lab.timer.now() < Duration::from_secs(3), "{:?}", lab.timer.now());
}
