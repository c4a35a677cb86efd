//! The routes on a real server, through actix-web's own test client, and the whole program
//! over TCP.

use actix_web::body::to_bytes;
use actix_web::dev::ServiceResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Data};
use actix_web::{App, test};
use example_actix::{finish, routes, start};
use poolwarden::{Builder, Pool, PooledConnection, Postgres};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::postgres as pg;

const LONG: Duration = Duration::from_secs(60);

/// The servers of the tests do not write a commit immediately, unless told to: an immediate
/// stop would lose the table.
const ORDERS: &str = "begin;
    set local synchronous_commit = on;
    create table orders (id serial, name text);
    insert into orders (name) values ('tea'), ('bread');
    commit";

/// A pool over a database with two orders.
async fn pool(
    database: String,
    options: impl FnOnce(Builder<Postgres>) -> Builder<Postgres> + Send + 'static,
) -> Pool<Postgres> {
    let build = move || {
        let driver = Postgres::new(&database).expect("a URL");
        let pool = options(Pool::builder().checkout_timeout(LONG)).build(driver).expect("it opens");
        pool.batch_execute(ORDERS).expect("done");
        pool
    };
    web::block(build).await.expect("no panic")
}

async fn hold(pool: &Pool<Postgres>) -> PooledConnection<Postgres> {
    let pool = pool.clone();
    web::block(move || pool.get().expect("it is free")).await.expect("no panic")
}

async fn call(pool: &Pool<Postgres>, request: test::TestRequest) -> ServiceResponse {
    let app = App::new().app_data(Data::new(pool.clone())).configure(routes);
    test::call_service(&test::init_service(app).await, request.to_request()).await
}

async fn get(pool: &Pool<Postgres>, path: &str) -> ServiceResponse {
    call(pool, test::TestRequest::get().uri(path)).await
}

async fn text(response: ServiceResponse) -> String {
    let bytes = to_bytes(response.into_body()).await.unwrap_or_else(|_| panic!("a body"));
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn asks_to_retry(response: &ServiceResponse) -> bool {
    let header = response.headers().get(header::RETRY_AFTER);
    response.status() == StatusCode::SERVICE_UNAVAILABLE && header.is_some_and(|value| value == "1")
}

#[actix_web::test]
async fn orders_are_written_and_read_and_the_program_is_ready() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool = pool(database.url(), |options| options).await;
    let request = test::TestRequest::post().uri("/orders").set_payload("milk");
    assert_eq!(call(&pool, request).await.status(), StatusCode::CREATED);
    assert_eq!(text(get(&pool, "/orders").await).await, "tea\nbread\nmilk");
    assert_eq!(get(&pool, "/ready").await.status(), StatusCode::OK);
    for path in ["/metrics", "/status"] {
        let page = text(get(&pool, path).await).await;
        assert!(page.contains(pool.name()), "{path}: {page}");
    }
}

#[actix_web::test]
async fn a_saturated_pool_is_503_with_retry_after() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool = pool(database.url(), |options| options.max_size(1).max_waiting(1)).await;
    let guard = hold(&pool).await;
    // Takes the only place in the queue, so that the next request is answered immediately.
    let waiting = pool.clone();
    let waiting = actix_web::rt::spawn(async move { get(&waiting, "/orders").await.status() });
    while pool.snapshot().levels.waiting == 0 {
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(asks_to_retry(&get(&pool, "/orders").await));
    drop(guard);
    assert_eq!(waiting.await.expect("no panic"), StatusCode::OK);
    assert_eq!(get(&pool, "/ready").await.status(), StatusCode::OK);
}

#[actix_web::test]
async fn a_query_on_a_thread_of_the_runtime_is_refused() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool = pool(database.url(), |options| options).await;
    let answer = get(&pool, "/on-the-wrong-thread").await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(&pool, "/orders").await.status(), StatusCode::OK);
}

/// Sends a request over TCP; returns the whole answer.
fn request(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Requests orders until it is stopped; returns the status codes.
fn request_until(stopped: &AtomicBool, address: SocketAddr) -> Vec<String> {
    let mut seen = Vec::new();
    while !stopped.load(SeqCst) {
        seen.push(request(address, "/orders")[9..12].to_owned());
    }
    seen
}

/// Stops the server, and starts it again once the program has noticed; returns when the
/// program works again.
fn restart(server: &pg::Server, address: SocketAddr) {
    server.stop_immediate();
    let began = Instant::now();
    while !request(address, "/ready").starts_with("HTTP/1.1 503") {
        assert!(began.elapsed() < LONG, "it is not ready while the server is away");
    }
    server.start_again();
    assert!(server.wait_ready(LONG));
    let began = Instant::now();
    while !request(address, "/orders").starts_with("HTTP/1.1 200") {
        assert!(began.elapsed() < LONG, "it works again");
    }
}

#[actix_web::test]
async fn a_restart_of_the_server_under_load_costs_503_and_500_and_nothing_afterwards() {
    support::require!(postgres);
    let server = pg::Server::start();
    let url = server.fresh_database().url();
    let pool = pool(url, |options| options.max_size(4)).await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let program = start(listener, pool.clone()).expect("it starts");
    let handle = program.handle();
    let program = actix_web::rt::spawn(finish(program, pool));
    let events = move || {
        let stopped = Arc::new(AtomicBool::new(false));
        let clients = (0..8).map(|_| {
            let stopped = Arc::clone(&stopped);
            std::thread::spawn(move || request_until(&stopped, address))
        });
        let clients: Vec<_> = clients.collect();
        restart(&server, address);
        stopped.store(true, SeqCst);
        let seen = clients.into_iter().flat_map(|client| client.join().expect("no panic"));
        let seen: Vec<String> = seen.collect();
        assert!(seen.iter().all(|status| ["200", "500", "503"].contains(&&**status)), "{seen:?}");
        for _ in 0..20 {
            assert!(request(address, "/orders").starts_with("HTTP/1.1 200"));
        }
    };
    web::block(events).await.expect("no panic");
    handle.stop(true).await;
    program.await.expect("no panic").expect("it ended");
}

#[actix_web::test]
async fn a_shutdown_finishes_what_is_under_way_and_drains_the_pool() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool = pool(database.url(), |options| options.max_size(1)).await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let program = start(listener, pool.clone()).expect("it starts");
    let handle = program.handle();
    let program = actix_web::rt::spawn(finish(program, pool.clone()));
    let guard = hold(&pool).await;
    // Waits for the connection that the guard holds.
    let client = actix_web::rt::task::spawn_blocking(move || request(address, "/orders"));
    while pool.snapshot().levels.waiting == 0 {
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
    let stopping = actix_web::rt::spawn(handle.stop(true));
    drop(guard);
    let answer = client.await.expect("no panic");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("tea\nbread"), "{answer}");
    stopping.await.expect("no panic");
    program.await.expect("no panic").expect("it ended");
    assert_eq!((pool.snapshot().levels.open, pool.get().is_err()), (0, true));
}
