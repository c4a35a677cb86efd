//! Tests of what the kernel says about sockets.

use super::*;
use crate::sys::{socket_search, socket_state};
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback binds");
    let near = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    (near, listener.accept().expect("accept").0)
}

fn settled_peek(socket: &TcpStream) -> (Verdict, Vec<u8>) {
    std::thread::sleep(Duration::from_millis(20));
    let mut buffer = PeekBuffer::new();
    let verdict = peek(socket.as_fd(), &mut buffer);
    (verdict, buffer.bytes().to_vec())
}

#[test]
fn a_socket_without_data_is_quiet() {
    let (near, _far) = pair();
    assert_eq!(settled_peek(&near).0, Verdict::Quiet);
}

#[test]
fn a_fin_is_closed_and_so_is_a_half_close() {
    let (near, far) = pair();
    far.shutdown(Shutdown::Write).expect("shutdown");
    assert_eq!(settled_peek(&near).0, Verdict::Closed(0));
}

#[test]
fn data_in_front_of_a_fin_is_closed_and_its_bytes_are_kept() {
    let (near, mut far) = pair();
    far.write_all(b"closing").expect("write");
    drop(far);
    assert_eq!(settled_peek(&near), (Verdict::Closed(7), b"closing".to_vec()));
}

#[test]
fn data_on_an_open_socket_is_unsolicited() {
    let (near, mut far) = pair();
    far.write_all(b"hello").expect("write");
    assert_eq!(settled_peek(&near), (Verdict::Unsolicited(5), b"hello".to_vec()));
}

#[test]
fn a_reset_is_a_failure_with_its_number() {
    let (near, far) = pair();
    socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).expect("linger");
    drop(far);
    assert_eq!(settled_peek(&near).0, Verdict::Failed(libc::ECONNRESET));
}

#[test]
fn after_our_abort_only_the_peers_close_counts_as_released() {
    let (near, far) = pair();
    let copy = Descriptor::duplicate(&near).expect("duplicate");
    copy.abort();
    assert_eq!(copy.released_by_peer(), Some(false));
    drop(far);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(copy.released_by_peer(), Some(true));
}

#[test]
fn a_fin_behind_data_that_fills_the_buffers_is_seen_once_the_data_is_discarded() {
    let (near, mut far) = pair();
    let copy = Descriptor::duplicate(&near).expect("duplicate");
    far.set_write_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    while far.write_all(&[7; 64 * 1024]).is_ok() {}
    copy.abort();
    drop((near, far));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(copy.released_by_peer(), Some(false));
    let mut looks = 0;
    while copy.released_by_peer() != Some(true) {
        copy.discard_received(1 << 20);
        std::thread::sleep(Duration::from_millis(5));
        looks += 1;
        assert!(looks < 2_000, "its FIN never arrived");
    }
}

#[test]
fn after_our_fin_the_peers_fin_is_seen_by_poll() {
    let (near, far) = pair();
    let copy = Descriptor::duplicate(&near).expect("duplicate");
    copy.finish();
    let (waker, _other) = pair();
    let ended =
        |millis| wait_ended(Some(waker.as_fd()), &[copy.as_fd()], Duration::from_millis(millis))[0];
    assert!(!ended(20));
    drop(far);
    assert!(ended(2_000));
}

#[test]
fn a_socket_connected_to_itself_is_recognised() {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("bind");
    let own = socket.local_addr().expect("an address");
    socket.connect(&own).expect("a socket may connect to itself");
    assert!(Descriptor::duplicate(&socket).expect("duplicate").is_connected_to_itself());
    let (near, _far) = pair();
    assert!(!Descriptor::duplicate(&near).expect("duplicate").is_connected_to_itself());
}

#[test]
fn a_marked_socket_is_found_among_all_others() {
    let (near, _far) = pair();
    let mark = Duration::from_secs(104_729);
    near.set_read_timeout(Some(mark)).expect("option");
    assert_eq!(socket_search::find_marked(mark).len(), 1);
    socket_state::clear_timeouts(near.as_fd()).expect("option");
    assert!(socket_search::find_marked(mark).is_empty());
}
