use super::*;
use crate::script::{self, Script};
use crate::wait::{eventually, threads_named};
use socket2::SockRef;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};

const SOON: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(100);

/// An upstream that sends back what it gets.
fn echo() -> Script {
    script::serve(|mut stream| {
        let mut writer = stream.try_clone().expect("a socket can be cloned");
        let _ = io::copy(&mut stream, &mut writer);
        let _ = writer.shutdown(Shutdown::Write);
    })
}

/// Returns a proxy in front of `upstream`, and a client that got one answer through it.
fn connected(upstream: &Script) -> (Proxy, TcpStream) {
    let proxy = Proxy::start(upstream.addr());
    let mut client = connect(&proxy);
    assert_eq!(exchange(&mut client, b"hello"), b"hello");
    (proxy, client)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let client = TcpStream::connect(proxy.addr()).expect("the proxy listens");
    client.set_read_timeout(Some(SOON)).expect("no zero timeout");
    client
}

fn exchange(client: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    client.write_all(bytes).expect("the proxy reads");
    let mut answer = vec![0; bytes.len()];
    client.read_exact(&mut answer).expect("the upstream answers");
    answer
}

/// Returns the result of a non-blocking peek: the count, or the kind of the error.
fn peek(client: &TcpStream) -> Result<usize, ErrorKind> {
    client.set_nonblocking(true).expect("a socket can be made non-blocking");
    let peeked = SockRef::from(client).peek(&mut [MaybeUninit::uninit(); 64]);
    client.set_nonblocking(false).expect("and back");
    peeked.map_err(|error| error.kind())
}

#[test]
fn it_forwards_both_ways_and_counts() {
    let upstream = echo();
    let (proxy, mut client) = connected(&upstream);
    assert_eq!((proxy.accepted(), proxy.live()), (1, 1));
    assert_eq!(proxy.accept_times().len(), 1);
    let long = vec![7; 3_000_000];
    let (mut reader, sent) = (client.try_clone().expect("a socket can be cloned"), long.clone());
    let writer = thread::spawn(move || client.write_all(&sent).map(|()| client));
    let mut answer = vec![0; long.len()];
    reader.read_exact(&mut answer).expect("the upstream answers");
    assert!(answer == long);
    drop((writer.join().expect("the writer does not panic"), reader));
    assert!(eventually(SOON, || proxy.live() == 0));
}

#[test]
fn a_fin_of_the_upstream_reaches_the_client_and_one_of_the_client_the_upstream() {
    let upstream = script::serve(|mut stream| stream.write_all(b"bye").expect("it reads"));
    let proxy = Proxy::start(upstream.addr());
    let mut received = String::new();
    let mut client = connect(&proxy);
    client.read_to_string(&mut received).expect("a FIN follows");
    assert_eq!((received.as_str(), proxy.live()), ("bye", 1));
    drop(client);
    assert!(eventually(SOON, || proxy.live() == 0));
}

#[test]
fn a_refusing_proxy_listens_again_on_the_same_port() {
    let upstream = echo();
    let (proxy, mut client) = connected(&upstream);
    for _ in 0..3 {
        proxy.set_mode(Mode::Refuse);
        let refused = TcpStream::connect(proxy.addr()).expect_err("the connect is refused");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(exchange(&mut client, b"still"), b"still");
        proxy.set_mode(Mode::Pass);
        assert_eq!(exchange(&mut connect(&proxy), b"again"), b"again");
    }
}

#[test]
fn an_unresponsive_proxy_accepts_and_never_answers() {
    let upstream = echo();
    let proxy = Proxy::start(upstream.addr());
    proxy.set_mode(Mode::Unresponsive);
    let mut client = connect(&proxy);
    client.write_all(&[0; 1_000_000]).expect("it reads everything");
    client.set_read_timeout(Some(SHORT)).expect("no zero timeout");
    assert_eq!(client.read(&mut [0]).expect_err("silence").kind(), ErrorKind::WouldBlock);
    assert_eq!((proxy.live(), upstream.accepted()), (1, 0));
    assert_eq!(proxy.apply(&Fault::Inject(b"late".to_vec())), 1);
    assert_eq!(peek(&client), Ok(4));
    drop(client);
    assert!(eventually(SOON, || proxy.live() == 0));
}

#[test]
fn a_full_backlog_leaves_a_connect_unanswered_until_the_mode_changes() {
    let upstream = echo();
    let proxy = Proxy::start(upstream.addr());
    proxy.set_mode(Mode::FullBacklog);
    let start = Instant::now();
    let unanswered = TcpStream::connect_timeout(&proxy.addr(), SHORT * 3);
    assert_eq!(unanswered.expect_err("the backlog is full").kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= SHORT * 3);
    let addr = proxy.addr();
    let waiting = thread::spawn(move || TcpStream::connect_timeout(&addr, SOON));
    thread::sleep(SHORT);
    proxy.set_mode(Mode::Pass);
    let mut client = waiting.join().expect("no panic").expect("accepted at the next SYN");
    assert_eq!(exchange(&mut client, b"late"), b"late");
    assert_eq!(proxy.accepted(), 1, "the fillers do not count");
}

#[test]
fn a_stalled_connection_holds_everything_until_it_passes() {
    let upstream = echo();
    let (proxy, mut client) = connected(&upstream);
    assert_eq!(proxy.apply(&Fault::Stall), 1);
    client.write_all(b"held").expect("the kernel takes it");
    thread::sleep(SHORT);
    assert_eq!(peek(&client), Err(ErrorKind::WouldBlock));
    proxy.apply(&Fault::Inject(b"!".to_vec()));
    assert_eq!(peek(&client), Ok(1));
    proxy.apply(&Fault::Pass);
    let mut answer = [0; 5];
    client.read_exact(&mut answer).expect("it passes");
    assert_eq!(&answer, b"!held");
    proxy.apply(&Fault::Stall);
    client.write_all(b"unread").expect("the kernel takes it");
    drop(client);
    assert!(eventually(SOON, || proxy.live() == 0), "a close is status while stalled");
}

#[test]
fn the_client_sees_each_close_immediately() {
    let upstream = echo();
    for (fault, status) in [
        (Fault::Fin, Ok(0)),
        (Fault::HalfClose, Ok(0)),
        (Fault::Rst, Err(ErrorKind::ConnectionReset)),
        (Fault::CloseAfter(0), Ok(0)),
    ] {
        for stalled in [false, true] {
            let (proxy, mut client) = connected(&upstream);
            if stalled {
                proxy.apply(&Fault::Stall);
                client.write_all(b"unread").expect("the kernel takes it");
            }
            assert_eq!(proxy.apply(&fault), 1);
            assert_eq!(peek(&client), status, "{fault:?}, stalled {stalled}");
            let open = usize::from(fault == Fault::HalfClose);
            assert_eq!(proxy.live(), open, "{fault:?}, stalled {stalled}");
            assert_eq!(proxy.apply(&Fault::Pass), open);
        }
    }
}

#[test]
fn bytes_to_the_client_are_cut_off_delayed_and_throttled() {
    let upstream = echo();
    let (proxy, mut client) = connected(&upstream);
    proxy.apply(&Fault::Delay(SHORT));
    let start = Instant::now();
    assert_eq!(exchange(&mut client, b"slow"), b"slow");
    assert!(start.elapsed() >= SHORT);
    proxy.apply(&Fault::Pass);
    proxy.apply(&Fault::Throttle { bytes: 2, every: SHORT });
    let start = Instant::now();
    assert_eq!(exchange(&mut client, b"throttle"), b"throttle");
    assert!(start.elapsed() >= SHORT);
    proxy.apply(&Fault::Pass);
    proxy.apply(&Fault::CloseAfter(3));
    client.write_all(b"abcdef").expect("the proxy reads");
    let mut received = Vec::new();
    client.read_to_end(&mut received).expect("a FIN follows");
    assert_eq!(received, b"abc");
}

#[test]
fn a_mode_can_give_new_connections_a_fault_and_one_old_connection_another() {
    let upstream = echo();
    let (proxy, mut client) = connected(&upstream);
    proxy.set_mode(Mode::With(Fault::CloseAfter(2)));
    let mut cut = connect(&proxy);
    cut.write_all(b"abc").expect("the proxy reads");
    let mut received = Vec::new();
    cut.read_to_end(&mut received).expect("a FIN follows");
    assert_eq!(received, b"ab");
    assert!(!proxy.apply_to(1, &Fault::Rst), "it has ended");
    assert!(!proxy.apply_to(2, &Fault::Rst), "there is none");
    assert_eq!(exchange(&mut client, b"well"), b"well");
    assert!(proxy.apply_to(0, &Fault::Rst));
    assert_eq!(peek(&client), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_reset_by_the_upstream_is_a_reset_for_the_client() {
    let upstream = script::serve(|mut stream| {
        let _ = stream.read(&mut [0]);
        let reset = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        reset.expect("a socket has this option");
    });
    let proxy = Proxy::start(upstream.addr());
    let mut client = connect(&proxy);
    client.write_all(b"x").expect("the proxy reads");
    let reset = client.read(&mut [0]).expect_err("no FIN");
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn without_an_upstream_it_accepts_and_closes() {
    let proxy = Proxy::to_port(port::unused());
    let mut client = connect(&proxy);
    assert_eq!(client.read(&mut [0]).expect("a FIN"), 0);
    assert!(eventually(SOON, || proxy.live() == 0));
}

#[test]
fn its_threads_end_with_it_even_if_the_peers_stay() {
    let upstream = script::serve(|mut stream| drop(stream.read(&mut [0; 64])));
    let proxy = Proxy::start(upstream.addr());
    let clients = [connect(&proxy), connect(&proxy)];
    assert!(eventually(SOON, || proxy.accepted() == 2));
    proxy.apply_to(0, &Fault::Stall);
    drop(proxy);
    assert!(clients.iter().all(|client| peek(client) == Ok(0)));
    // Other tests have proxies too, but not for long.
    assert!(eventually(SOON * 4, || threads_named("proxy-").is_empty()));
}

#[test]
fn held_bytes_are_counted_and_forwarded_or_truncated() {
    let upstream = echo();
    let (proxy, mut client) = connected(&upstream);
    assert!(proxy.apply_to(0, &Fault::Hold(Direction::ToClient)));
    client.write_all(b"1234").expect("the proxy reads");
    assert!(eventually(SOON, || proxy.held(0) == 4));
    assert_eq!(peek(&client), Err(ErrorKind::WouldBlock));
    assert!(proxy.apply_to(0, &Fault::Pass));
    assert_eq!(exchange(&mut client, b""), b"");
    client.read_exact(&mut [0; 4]).expect("what was held");
    assert!(proxy.apply_to(0, &Fault::Hold(Direction::ToServer)));
    client.write_all(b"56").expect("the proxy reads");
    assert!(eventually(SOON, || proxy.held(0) == 2));
    let (late, began) = (Duration::from_millis(60), Instant::now());
    assert!(proxy.apply_to(0, &Fault::Delay(late)));
    client.read_exact(&mut [0; 2]).expect("what was held");
    assert!(began.elapsed() >= late);
    assert!(
        proxy.apply_to(0, &Fault::Pass) && proxy.apply_to(0, &Fault::Hold(Direction::ToClient))
    );
    client.write_all(b"half").expect("the proxy reads");
    assert!(eventually(SOON, || proxy.held(0) == 4));
    assert!(proxy.apply_to(0, &Fault::Truncate(Vec::new())));
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("a FIN");
    assert_eq!(rest, "ha");
}

#[test]
fn a_black_hole_acknowledges_nothing() {
    let upstream = echo();
    let (proxy, mut client) = connected(&upstream);
    assert_eq!(unacknowledged(&client), 0);
    assert!(proxy.apply_to(0, &Fault::BlackHole));
    client.write_all(b"lost").expect("the kernel takes it");
    thread::sleep(SHORT);
    assert_eq!((unacknowledged(&client), proxy.live()), (4, 1));
    assert!(proxy.apply_to(0, &Fault::Rst));
    let reset = client.read(&mut [0]).expect_err("it was reset");
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
}

/// "proc(5)", /proc/net/tcp, tx_queue: how many bytes are sent and not acknowledged.
fn unacknowledged(client: &TcpStream) -> u32 {
    let inodes = std::fs::read_to_string("/proc/net/tcp").expect("/proc is mounted");
    let hex = |addr: SocketAddr| format!("0100007F:{:04X}", addr.port());
    let local = hex(client.local_addr().expect("it is bound"));
    let peer = hex(client.peer_addr().expect("it is connected"));
    let line = inodes.lines().find(|line| line.contains(&format!("{local} {peer}")));
    let queue = line.expect("the socket's line").split_whitespace().nth(4).expect("queues");
    u32::from_str_radix(&queue[..8], 16).expect("a number")
}
