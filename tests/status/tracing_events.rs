//! The feature `tracing`: log lines are events with fields, once there is a subscriber.

use poolwarden::{CloseReason, Pool, PooledConnection, Sqlite};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::logs;
use support::wait::eventually;
use tracing::field::{self, Field};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Fields = BTreeMap<String, String>;

#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<Vec<Fields>>>);

struct Visitor(Fields);

impl field::Visit for Visitor {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.to_string());
    }
}

impl Subscriber for Recorded {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "poolwarden"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut visitor = Visitor(Fields::new());
        event.record(&mut visitor);
        visitor.0.insert("level".to_owned(), event.metadata().level().to_string());
        self.0.lock().expect("no panic").push(visitor.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_close_is_an_event_with_its_fields_and_no_log_line_besides() {
    let kept = Recorded::default();
    tracing::subscriber::set_global_default(kept.clone()).expect("the only one");
    let log = logs::mark();
    let builder = Pool::builder().name("traced").slow_checkout(Duration::from_millis(1));
    let pool = builder.build(Sqlite::memory()).expect("a database in memory");
    PooledConnection::discard(pool.get().expect("a connection"));
    let found = || {
        let all = kept.0.lock().expect("no panic");
        let is_it = |event: &&Fields| {
            event.get("pool").is_some_and(|pool| pool == "traced") && event.contains_key("reason")
        };
        all.iter().find(is_it).cloned()
    };
    assert!(eventually(Duration::from_secs(20), || found().is_some()));
    let event = found().expect("it was just there");
    assert_eq!(event["reason"], CloseReason::Discarded.as_str());
    assert_eq!((event["level"].as_str(), event["idle_ms"].as_str()), ("DEBUG", "0"));
    assert!(event["conn"].parse::<u64>().is_ok() && event["age_ms"].parse::<u64>().is_ok());
    let text = &event["message"];
    assert!(text.starts_with("pool traced: closed connection ") && text.contains("discarded by"));
    assert!(log.records_of("pool", "traced").is_empty());
}
