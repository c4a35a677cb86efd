//! The routes on a real server, through axum's own interface, and the whole program over TCP.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use example_axum::{router, run};
use poolwarden::{Builder, Pool, Postgres};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use support::postgres as pg;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};
use tower::ServiceExt;

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
    spawn_blocking(build).await.expect("no panic")
}

async fn get(pool: &Pool<Postgres>, path: &str) -> Response {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    router(pool.clone()).oneshot(request).await.expect("infallible")
}

async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn asks_to_retry(response: &Response) -> bool {
    let header = response.headers().get(header::RETRY_AFTER);
    response.status() == StatusCode::SERVICE_UNAVAILABLE && header.is_some_and(|value| value == "1")
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_written_and_read_and_the_program_is_ready() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool = pool(database.url(), |options| options).await;
    let request = Request::post("/orders").body(Body::from("milk")).expect("a request");
    let answer = router(pool.clone()).oneshot(request).await.expect("infallible");
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(text(get(&pool, "/orders").await).await, "tea\nbread\nmilk");
    assert_eq!(get(&pool, "/ready").await.status(), StatusCode::OK);
    for path in ["/metrics", "/status"] {
        let page = text(get(&pool, path).await).await;
        assert!(page.contains(pool.name()), "{path}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saturated_pool_is_503_with_retry_after() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool = pool(database.url(), |options| options.max_size(1).max_waiting(1)).await;
    let held = pool.clone();
    let guard = spawn_blocking(move || held.get().expect("it is free")).await.expect("no panic");
    // Takes the only place in the queue, so that the next request is answered immediately.
    let waiting = pool.clone();
    let waiting = tokio::spawn(async move { get(&waiting, "/orders").await.status() });
    while pool.snapshot().levels.waiting == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(asks_to_retry(&get(&pool, "/orders").await));
    drop(guard);
    assert_eq!(waiting.await.expect("no panic"), StatusCode::OK);
    assert_eq!(get(&pool, "/ready").await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_on_a_thread_of_the_runtime_is_refused() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool = pool(database.url(), |options| options).await;
    let answer = get(&pool, "/on-the-wrong-thread").await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(&pool, "/orders").await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_under_load_costs_503_and_500_and_nothing_afterwards() {
    support::require!(postgres);
    let server = pg::Server::start();
    let database = server.fresh_database();
    let pool = pool(database.url(), |options| options.max_size(4)).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (pool, stopped) = (pool.clone(), stopped.clone());
        clients.spawn(async move {
            let mut seen = Vec::new();
            while !*stopped.borrow() {
                seen.push(get(&pool, "/orders").await.status().as_u16());
            }
            seen
        });
    }
    tokio::task::block_in_place(|| server.stop_immediate());
    let began = Instant::now();
    while get(&pool, "/ready").await.status() != StatusCode::SERVICE_UNAVAILABLE {
        assert!(began.elapsed() < LONG, "it is not ready while the server is away");
    }
    tokio::task::block_in_place(|| {
        server.start_again();
        assert!(server.wait_ready(LONG));
    });
    let began = Instant::now();
    while get(&pool, "/orders").await.status() != StatusCode::OK {
        assert!(began.elapsed() < LONG, "it works again");
    }
    stop.send(true).expect("the clients listen");
    let seen: Vec<u16> = clients.join_all().await.concat();
    assert!(seen.iter().all(|status| [200, 500, 503].contains(status)), "{seen:?}");
    for _ in 0..20 {
        assert_eq!(get(&pool, "/orders").await.status(), StatusCode::OK);
    }
}

/// Sends a request over TCP; returns the whole answer.
fn request(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_finishes_what_is_under_way_and_drains_the_pool() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool = pool(database.url(), |options| options.max_size(1)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let program = tokio::spawn(run(listener, pool.clone(), stopped));
    let held = pool.clone();
    let guard = spawn_blocking(move || held.get().expect("it is free")).await.expect("no panic");
    // Waits for the connection that the guard holds.
    let client = spawn_blocking(move || request(address, "/orders"));
    while pool.snapshot().levels.waiting == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send(()).expect("the program runs");
    drop(guard);
    let answer = client.await.expect("no panic");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("tea\nbread"), "{answer}");
    program.await.expect("no panic").expect("it ended");
    assert_eq!((pool.snapshot().levels.open, pool.get().is_err()), (0, true));
}
