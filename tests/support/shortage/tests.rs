use super::*;
use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::panic::catch_unwind;
use std::process::{Command, id};
use std::sync::mpsc;
use std::thread;

const MEGABYTE: u64 = 1 << 20;

fn a_thread_starts() -> io::Result<()> {
    let started = thread::Builder::new().spawn(|| ());
    started.map(|thread| thread.join().expect("it does not panic"))
}

fn a_mapping_of(bytes: u64) -> bool {
    Vec::<u8>::new().try_reserve_exact(bytes as usize).is_ok()
}

#[test]
fn the_body_runs_in_another_process_with_the_parents_text() {
    let prepared_in = || id().to_string();
    in_child_with(prepared_in, |_, given| {
        assert_ne!(given, id().to_string());
        assert_eq!(given.parse(), Ok(nix::unistd::getppid().as_raw()));
    });
}

#[test]
fn a_failure_in_the_child_fails_the_test_with_its_message() {
    let inside = env::var_os(INSIDE).is_some();
    let failed = catch_unwind(|| in_child(|_| panic!("a message from the child")));
    let message = failed.expect_err("it must panic");
    if inside {
        std::panic::resume_unwind(message);
    }
    let message = message.downcast_ref::<String>().expect("the message is formatted");
    assert!(message.contains("a message from the child"), "{message}");
}

#[test]
fn a_child_that_hangs_is_killed_and_the_test_fails() {
    let test = "shortage::tests::a_child_that_hangs_is_killed_and_the_test_fails";
    let hang = |_: &Limits, _: &str| {
        loop {
            thread::park();
        }
    };
    if env::var_os(INSIDE).is_some() {
        return bounded(Duration::ZERO, test, String::new, hang);
    }
    let failed = catch_unwind(|| bounded(Duration::from_millis(500), test, String::new, hang));
    let message = failed.expect_err("it must panic");
    let message = message.downcast_ref::<String>().expect("the message is formatted");
    assert!(message.contains("hangs in its child process"), "{message}");
}

#[test]
fn a_body_outside_of_a_test_is_an_error() {
    fn elsewhere(_: &Limits) {}
    let failed = catch_unwind(|| in_child(elsewhere));
    let message = failed.expect_err("it must panic");
    let message = message.downcast_ref::<String>().expect("the message is formatted");
    assert!(message.contains("did not run"), "{message}");
}

#[test]
fn the_given_number_of_descriptors_is_left_until_the_end_of_the_shortage() {
    in_child(|limits| {
        // A gap below the highest descriptor: it does not count as spare.
        let gap = File::open("/dev/null").expect("descriptors are free");
        let high = File::open("/dev/null").expect("descriptors are free");
        drop(gap);
        for spare in [0, 1, 4] {
            let shortage = limits.descriptors(spare);
            let opened: Vec<File> = (0..spare).map_while(|_| high.try_clone().ok()).collect();
            assert_eq!(opened.len(), spare);
            let error = high.try_clone().expect_err("no thread can be started");
            assert_eq!(error.raw_os_error(), Some(24), "EMFILE");
            // A closed one can be opened again, and no further one.
            drop(opened);
            let opened: Vec<File> = (0..=spare).map_while(|_| high.try_clone().ok()).collect();
            assert_eq!(opened.len(), spare);
            drop(shortage);
            let many: Vec<File> = (0..100).map_while(|_| high.try_clone().ok()).collect();
            assert_eq!(many.len(), 100);
        }
    });
}

#[test]
fn a_socket_cannot_be_opened_without_a_descriptor_and_can_afterwards() {
    in_child(|limits| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        let address = listener.local_addr().expect("it has an address");
        let shortage = limits.descriptors(0);
        let error = TcpStream::connect(address).expect_err("no descriptor is left");
        assert_eq!(error.raw_os_error(), Some(24), "EMFILE");
        drop(shortage);
        TcpStream::connect(address).expect("descriptors are free");
    });
}

#[test]
fn no_thread_starts_on_any_thread_until_the_end_of_the_shortage() {
    in_child(|limits| {
        let (request, requests) = mpsc::channel::<()>();
        let (answer, answered) = mpsc::channel();
        thread::spawn(move || {
            for () in requests {
                answer.send(a_thread_starts()).expect("the test receives");
            }
        });
        let elsewhere = || {
            request.send(()).expect("it runs");
            answered.recv().expect("it answers")
        };
        for _ in 0..2 {
            a_thread_starts().expect("threads can be started");
            let shortage = limits.threads();
            for tried in [a_thread_starts(), elsewhere()] {
                assert_eq!(
                    tried.expect_err("no thread can be started").raw_os_error(),
                    Some(11),
                    "EAGAIN"
                );
            }
            assert!(Command::new("true").status().is_err(), "nor a process");
            // This process may still open its files.
            File::open("/proc/self/environ").expect("the effective user is the same");
            drop(shortage);
            elsewhere().expect("threads can be started");
        }
        assert!(Command::new("true").status().is_ok_and(|status| status.success()));
    });
}

#[test]
fn no_large_mapping_succeeds_until_the_end_of_the_shortage() {
    in_child(|limits| {
        assert!(a_mapping_of(64 * MEGABYTE));
        let shortage = limits.address_space(2 * MEGABYTE);
        assert!(!a_mapping_of(64 * MEGABYTE));
        assert!(a_mapping_of(MEGABYTE));
        let large = thread::Builder::new().stack_size(32 << 20).spawn(|| ());
        assert_eq!(large.expect_err("its stack has no room").raw_os_error(), Some(11), "EAGAIN");
        drop(shortage);
        assert!(a_mapping_of(64 * MEGABYTE));
        let large = thread::Builder::new().stack_size(32 << 20).spawn(|| ());
        large.expect("there is room").join().expect("it does not panic");
    });
}

#[test]
fn a_panic_ends_the_shortage() {
    in_child(|limits| {
        let descriptors = |limits: &Limits| limits.descriptors(0);
        let address_space = |limits: &Limits| limits.address_space(MEGABYTE);
        for take in [descriptors, Limits::threads, address_space] {
            let panicked = catch_unwind(|| {
                let _shortage = take(limits);
                panic!("in the middle");
            });
            assert!(panicked.is_err());
            a_thread_starts().expect("threads can be started");
            File::open("/dev/null").expect("descriptors are free");
            assert!(a_mapping_of(64 * MEGABYTE));
        }
    });
}

#[test]
fn a_server_that_the_body_starts_serves_during_a_shortage() {
    crate::require!(postgres);
    in_child(|limits| {
        let server = crate::postgres::Server::start();
        let reached = || TcpStream::connect(("127.0.0.1", server.port())).is_ok();
        let shortage = limits.threads();
        assert!(reached());
        drop(shortage);
        drop(limits.descriptors(0));
        assert_eq!(server.sql("postgres", "SELECT 1"), [["1"]]);
        server.restart_fast();
        assert!(reached());
    });
}
