//! A proxy between a machine and a server that fails as networks do: it drops
//! connections, answers 500 and 503, delays, and cuts what goes through, in
//! either direction. What fails is drawn from a seed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a proxy does to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Lets everything through.
    Honest,
    /// Fails about one connection in three.
    Faulty,
    /// Takes connections and never answers.
    Silent,
    /// Lets little through at a time.
    Slow,
}

/// A proxy, until it is dropped.
pub(super) struct Proxy {
    pub(super) port: u16,
    connections: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) fn before(server: u16, manner: Manner, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (connections, stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&connections), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let number = count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(client, server, manner, seed.wrapping_add(number)));
            }
        });
        Self { port, connections, stopped }
    }

    /// How many connections were made so far.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

/// A number that looks random and is the same for the same seed.
pub(super) fn draw(seed: u64, below: u64) -> u64 {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state ^ (state >> 31)) % below
}

fn serve(mut client: TcpStream, server: u16, manner: Manner, seed: u64) {
    if manner == Manner::Silent {
        let mut nothing = Vec::new();
        client.read_to_end(&mut nothing).ok();
        return;
    }
    let fault = if manner == Manner::Faulty { draw(seed, 15) } else { 99 };
    match fault {
        0 => return,
        1 | 2 => {
            let mut head = [0; 4096];
            let _request = client.read(&mut head);
            let status = if fault == 1 { "503 Slow Down" } else { "500 Internal Server Error" };
            write!(client, "HTTP/1.1 {status}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy").ok();
            return;
        }
        3 => std::thread::sleep(Duration::from_millis(300)),
        _ => {}
    }
    let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { return };
    // No connection of a faulty proxy lives for long, so that there are many.
    let some = 20_000 + draw(seed ^ 0x4d, 400_000);
    let (up, down) = match (manner, fault) {
        (Manner::Faulty, 4) => (some, u64::MAX),
        (Manner::Faulty, 5) => (u64::MAX, some / 4),
        (Manner::Faulty, _) => (u64::MAX, some * 4),
        _ => (u64::MAX, u64::MAX),
    };
    let slow = manner == Manner::Slow;
    let (Ok(client_reads), Ok(upstream_reads)) = (client.try_clone(), upstream.try_clone()) else { return };
    let upwards = std::thread::spawn(move || pass(client_reads, upstream, up, slow));
    pass(upstream_reads, client, down, slow);
    upwards.join().ok();
}

/// Passes so many bytes on, then breaks both ends off.
fn pass(mut from: TcpStream, mut to: TcpStream, most: u64, slow: bool) {
    let mut left = most;
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let passed = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        if slow {
            std::thread::sleep(Duration::from_millis(2));
        }
        if to.write_all(&buffer[..passed]).is_err() || passed < read {
            break;
        }
        left -= passed as u64;
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
