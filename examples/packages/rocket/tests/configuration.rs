//! What stands under `databases` in Rocket's configuration.

use poolwarden::rocket::{Database, Db, Failure};
use poolwarden::{ManagedConnection, Pool, Postgres};
use rocket::figment::Figment;
use rocket::figment::util::map;
use rocket::figment::value::{Map, Value};
use rocket::local::blocking::Client;
use rocket::{Build, Rocket, get, routes};
use rocket_sync_db_pools::{Error, Poolable, database};
use std::sync::{Mutex, PoisonError};
use support::certificates::{self, Certificate};
use support::logs;
use support::postgres as pg;

struct Orders;

impl Database for Orders {
    type Driver = Postgres;
    const NAME: &'static str = "orders";
}

#[database("orders")]
struct Connection(ManagedConnection<Postgres>);

fn rocket(table: impl Into<Value>) -> Rocket<Build> {
    // Before Rocket sets a logger of its own.
    logs::install();
    let configuration = Figment::from(rocket::Config::debug_default())
        .merge(("log_level", "off"))
        .merge(("databases.orders", table.into()));
    rocket::custom(configuration)
}

/// The tests that read the log take turns: all of them have a pool of this name.
static LOG: Mutex<()> = Mutex::new(());

/// Returns `true` if the launch fails; an error of Rocket's that is dropped unread panics.
fn is_refused(rocket: Rocket<Build>) -> bool {
    Client::untracked(rocket).map_err(|error| drop(error.to_string())).is_err()
}

/// What the program's log says when it is launched with a pool of this crate.
fn refused(table: impl Into<Value>) -> String {
    let _alone = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let mark = logs::mark();
    assert!(is_refused(rocket(table).attach(Orders::fairing())));
    let texts = mark.records().into_iter().map(|record| record.message);
    texts.filter(|text| text.contains("databases.orders")).collect::<Vec<_>>().join("\n")
}

/// The error of the pool of `#[database]`.
fn refused_by_database(table: impl Into<Value>) -> String {
    let built = <ManagedConnection<Postgres> as Poolable>::pool("orders", &rocket(table));
    match built.expect_err("it is wrong") {
        Error::Custom(error) => error.to_string(),
        other => panic!("not ours: {other:?}"),
    }
}

const URL: &str = "postgres://app:s3cret@127.0.0.1:1/orders";

fn with_key(key: &'static str, value: impl Into<Value>) -> Map<&'static str, Value> {
    map! { "url" => URL.into(), key => value.into() }
}

#[test]
fn a_wrong_key_and_a_wrong_value_are_named_and_not_shown() {
    let nested: Map<&str, u8> = map! { "a" => 1 };
    let cases: [(&'static str, Value, &str); 6] = [
        ("max_lifetme", "5m".into(), "unknown key max_lifetme; did you mean max_lifetime?"),
        ("max_lifetime", "s3cret".into(), "max_lifetime: expected"),
        ("sslmode", "s3cret".into(), "sslmode: must be one of"),
        ("sslmode", nested.into(), "sslmode: "),
        ("password", 123.into(), "password: expected text"),
        ("url", "postgress://app:s3cret@h/d".into(), "url: "),
    ];
    for (key, value, expected) in cases {
        let texts = [
            refused(with_key(key, value.clone())),
            refused_by_database(with_key(key, value.clone())),
        ];
        for text in texts {
            assert!(text.contains("databases.orders: "), "{key}: {text}");
            assert!(text.contains(expected), "{key}: {text}");
            assert!(!text.contains("s3cret"), "{key}: {text}");
        }
    }
}

#[test]
fn a_missing_table_and_one_that_is_a_text_are_named() {
    let text = refused(URL);
    assert!(text.contains("databases.orders: expected a table"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    logs::install();
    let none = Figment::from(rocket::Config::debug_default()).merge(("log_level", "off"));
    let built = <ManagedConnection<Postgres> as Poolable>::pool("orders", &rocket::custom(none));
    let Err(Error::Custom(error)) = built else { panic!("{built:?}") };
    assert!(error.to_string().contains("databases.orders: not in Rocket's configuration"));
}

#[test]
fn an_option_has_one_name_at_a_time() {
    for (own, option) in [("pool_size", "max_size"), ("timeout", "checkout_timeout")] {
        let mut both = with_key(own, 5);
        both.insert(option, 5.into());
        let text = refused(both);
        assert!(text.contains(&format!("{own} and {option} are both set")), "{text}");
        // Rocket limits the pool by its own two values, whatever ours are.
        let text = refused_by_database(with_key(option, 5));
        assert!(text.contains(&format!("{option}: Rocket limits")), "{text}");
        assert!(text.contains(&format!("set {own} instead")), "{text}");
    }
    let text = refused_by_database(map! { "url" => format!("{URL}?pool_max_size=3") });
    assert!(text.contains("max_size: Rocket limits"), "{text}");
}

const IS_ENCRYPTED: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";

#[get("/pool")]
async fn by_pool(db: Db<Orders>) -> Result<String, Failure> {
    let row = db.run(|pool| pool.query_one(IS_ENCRYPTED, &[])).await?;
    Ok(row.get::<_, bool>(0).to_string())
}

#[get("/database")]
async fn by_database(connection: Connection) -> String {
    let row = connection.run(|connection| connection.query_one(IS_ENCRYPTED, &[])).await;
    row.expect("it answers").get::<_, bool>(0).to_string()
}

#[test]
fn a_handler_whose_pool_is_not_attached_ends_the_launch() {
    let _alone = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let mark = logs::mark();
    assert!(is_refused(rocket(URL).mount("/", routes![by_pool])));
    let texts: Vec<String> = mark.records().into_iter().map(|record| record.message).collect();
    assert!(texts.iter().any(|text| text.contains("fairing is not attached")), "{texts:?}");
}

#[test]
fn options_and_tls_reach_both_pools() {
    support::require!(postgres, tls);
    let server = pg::Server::with(|conf| {
        conf.tls(Certificate::Valid);
    });
    let database = server.fresh_database();
    let table: Map<&str, Value> = map! {
        "url" => format!("{}?sslmode=verify-full", database.url()).into(),
        "sslrootcert" => certificates::authority().display().to_string().into(),
        "application_name" => "rocket".into(),
        "pool_size" => 3.into(),
        "timeout" => 60.into(),
        "max_lifetime" => "5m".into(),
    };
    let rocket = rocket(table)
        .attach(Orders::fairing())
        .attach(Connection::fairing())
        .mount("/", routes![by_pool, by_database]);
    let client = Client::untracked(rocket).expect("it ignites");
    for path in ["/pool", "/database"] {
        let answer = client.get(path).dispatch();
        assert_eq!(answer.into_string().as_deref(), Some("true"), "{path}");
    }
    let pool: &Pool<Postgres> = Orders::pool(client.rocket()).expect("attached");
    assert_eq!((pool.name(), pool.snapshot().levels.max_size), ("orders", 3));
    assert!(server.backends("rocket").len() >= 2);
}
