//! The handlers on a real server, through Rocket's own client, and the whole program over TCP.

use example_rocket::{Orders, rocket, run, with_mistakes};
use poolwarden::rocket::Database;
use poolwarden::{Pool, Postgres};
use rocket::fairing::AdHoc;
use rocket::figment::Figment;
use rocket::figment::util::map;
use rocket::figment::value::{Map, Value};
use rocket::http::Status;
use rocket::local::asynchronous::{Client, LocalResponse};
use rocket::tokio::task::{JoinSet, spawn_blocking};
use rocket::tokio::{self, time};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

type Table = Map<&'static str, Value>;

/// The configuration of both pools, with a number of connections each.
fn configuration(url: &str, size: u32, orders: Table, reports: Table) -> Figment {
    let table = |other: Table, timeout: u8| {
        let mut table: Table =
            map! { "url" => url.into(), "pool_size" => size.into(), "timeout" => timeout.into() };
        table.extend(other);
        table
    };
    Figment::from(rocket::Config::debug_default())
        .merge(("log_level", "off"))
        .merge(("port", 0))
        .merge(("shutdown.ctrlc", false))
        .merge(("databases.orders", table(orders, 60)))
        .merge(("databases.reports", table(reports, 60)))
}

/// A client of the program over a database with two orders.
async fn client(database: &pg::Database<'_>, size: u32, orders: Table) -> Client {
    let configuration = configuration(&database.url(), size, orders, map! {});
    create_orders(database);
    Client::untracked(rocket(configuration)).await.expect("it ignites")
}

fn create_orders(database: &pg::Database<'_>) {
    tokio::task::block_in_place(|| {
        let pool: Pool<Postgres> = Pool::connect(&database.url()).expect("it opens");
        pool.batch_execute(ORDERS).expect("done");
    });
}

fn pool(client: &Client) -> Pool<Postgres> {
    Orders::pool(client.rocket()).expect("attached").clone()
}

async fn get(client: &Client, path: &str) -> Status {
    client.get(path.to_owned()).dispatch().await.status()
}

async fn text(client: &Client, path: &str) -> String {
    client.get(path.to_owned()).dispatch().await.into_string().await.unwrap_or_default()
}

fn asks_to_retry(response: &LocalResponse<'_>) -> bool {
    let header = response.headers().get_one("Retry-After");
    response.status() == Status::ServiceUnavailable && header == Some("1")
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_written_and_read_and_the_program_is_ready() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let client = client(&database, 4, map! {}).await;
    let answer = client.post("/orders").body("milk").dispatch().await;
    assert_eq!(answer.status(), Status::Created);
    assert_eq!(text(&client, "/orders").await, "tea\nbread\nmilk");
    assert_eq!(text(&client, "/report").await, "3");
    assert_eq!(get(&client, "/ready").await, Status::Ok);
    for path in ["/metrics", "/status"] {
        let page = text(&client, path).await;
        // The names of other tests' pools have a number.
        assert!(page.contains("orders") && page.contains("reports"), "{path}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saturated_pool_is_503_with_retry_after() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let client = Arc::new(client(&database, 1, map! { "max_waiting" => 1.into() }).await);
    let held = pool(&client);
    let guard = spawn_blocking(move || held.get().expect("it is free")).await.expect("no panic");
    // Takes the only place in the queue, so that the next request is answered immediately.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { get(&client, "/orders").await }
    });
    while pool(&client).snapshot().levels.waiting == 0 {
        time::sleep(Duration::from_millis(5)).await;
    }
    assert!(asks_to_retry(&client.get("/orders").dispatch().await));
    drop(guard);
    assert_eq!(waiting.await.expect("no panic"), Status::Ok);
    assert_eq!(get(&client, "/ready").await, Status::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saturated_pool_of_database_is_503_with_retry_after_too() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    create_orders(&database);
    let tables = configuration(&database.url(), 1, map! {}, map! { "timeout" => 1.into() });
    let client = Client::untracked(rocket(tables)).await.expect("it ignites");
    let held = example_rocket::Reports::get_one(client.rocket()).await.expect("it is free");
    assert!(asks_to_retry(&client.get("/report").dispatch().await));
    drop(held);
    let began = Instant::now();
    while get(&client, "/report").await != Status::Ok {
        assert!(began.elapsed() < LONG, "it works again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_on_a_thread_of_the_runtime_is_refused() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let right = client(&database, 4, map! {}).await;
    let tables = configuration(&database.url(), 4, map! {}, map! {});
    let wrong = with_mistakes(rocket(tables), pool(&right));
    let wrong = Client::untracked(wrong).await.expect("it ignites");
    for path in ["/in-a-plain-fn", "/in-an-async-handler"] {
        assert_eq!(get(&wrong, path).await, Status::InternalServerError, "{path}");
    }
    assert_eq!(get(&right, "/orders").await, Status::Ok);
    assert_eq!(get(&wrong, "/orders").await, Status::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_under_load_costs_503_and_500_and_nothing_afterwards() {
    support::require!(postgres);
    let server = pg::Server::start();
    let database = server.fresh_database();
    let client = Arc::new(client(&database, 4, map! {}).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (client, stop) = (client.clone(), stop.clone());
        clients.spawn(async move {
            let mut seen = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                seen.push(get(&client, "/orders").await.code);
            }
            seen
        });
    }
    tokio::task::block_in_place(|| server.stop_immediate());
    let began = Instant::now();
    while get(&client, "/ready").await != Status::ServiceUnavailable {
        assert!(began.elapsed() < LONG, "it is not ready while the server is away");
    }
    tokio::task::block_in_place(|| {
        server.start_again();
        assert!(server.wait_ready(LONG));
    });
    for path in ["/orders", "/report"] {
        let began = Instant::now();
        while get(&client, path).await != Status::Ok {
            assert!(began.elapsed() < LONG, "{path} works again");
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen = Vec::new();
    while let Some(codes) = clients.join_next().await {
        seen.extend(codes.expect("no panic"));
    }
    assert!(seen.iter().all(|status| [200, 500, 503].contains(status)), "{seen:?}");
    for _ in 0..20 {
        assert_eq!(get(&client, "/orders").await, Status::Ok);
        assert_eq!(get(&client, "/report").await, Status::Ok);
    }
}

/// Sends a request over TCP; returns the whole answer.
fn request(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_finishes_what_is_under_way_and_drains_the_pool() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    create_orders(&database);
    let tables = configuration(&database.url(), 1, map! {}, map! {})
        // With a request under way, Rocket waits for all of both.
        .merge(("shutdown.grace", 15))
        .merge(("shutdown.mercy", 1));
    let (sender, launched) = tokio::sync::oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let lift_off = AdHoc::on_liftoff("tells the test", move |rocket| {
        let sender = sender.lock().expect("no panic").take().expect("once");
        let pool = Orders::pool(rocket).expect("attached").clone();
        let _ = sender.send((rocket.config().port, rocket.shutdown(), pool));
        Box::pin(async {})
    });
    let program = tokio::spawn(run(rocket(tables).attach(lift_off)));
    let (port, shutdown, pool) = launched.await.expect("it launches");
    let held = pool.clone();
    let guard = spawn_blocking(move || held.get().expect("it is free")).await.expect("no panic");
    // Waits for the connection that the guard holds.
    let client = spawn_blocking(move || request(port, "/orders"));
    while pool.snapshot().levels.waiting == 0 {
        time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.notify();
    drop(guard);
    let answer = client.await.expect("no panic");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("tea\nbread"), "{answer}");
    program.await.expect("no panic").expect("it ended");
    assert_eq!((pool.snapshot().levels.open, pool.get().is_err()), (0, true));
}
