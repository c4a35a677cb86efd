//! Tenants in the metrics, in JSON and on the page: one pool for all, and the busiest of them.

use crate::text::HOSTILE;
use poolwarden::observe::status;
use poolwarden::{Pool, SharedPermits, Sqlite, Tenants};
use std::collections::BTreeMap;
use std::time::Duration;
use support::wait::eventually;

const LONG: Duration = Duration::from_secs(60);

/// Creates tenants with this name on databases in memory.
pub(crate) fn tenants(name: &str, limit: u32) -> Tenants<String, Sqlite> {
    let permits = SharedPermits::new(limit).expect("one or more");
    let tenants = Tenants::new(&permits, |tenant: &String| {
        Ok((Pool::builder().name(tenant).max_size(1), Sqlite::memory()))
    });
    tenants.with_name(name)
}

/// The values of all series of these tenants, by what stands in front of the value.
fn series(name: &str) -> BTreeMap<String, f64> {
    let label = format!("{{db_client_connection_pool_name=\"{name}\"");
    let text = status::prometheus();
    let lines = text.lines().filter(|line| line.contains(&label));
    let parts = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        (series.replace(&label, "{").replace("{,", "{"), value.parse().expect("a number"))
    });
    parts.collect()
}

fn use_often(tenants: &Tenants<String, Sqlite>, tenant: &str, times: usize) {
    (0..times).for_each(|_| drop(tenants.get(tenant).expect("a connection")));
}

#[test]
fn all_tenants_are_one_pool_with_the_permits_and_the_busiest_have_series() {
    let tenants = tenants("customers", 7).with_series(2);
    // They are the busiest whenever another test looks.
    use_often(&tenants, "first", 3);
    let held_by_first = tenants.get("first").expect("a connection");
    use_often(&tenants, "second", 4);
    let held_by_second = tenants.get("second").expect("a connection");
    use_often(&tenants, "third", 5);
    use_often(&tenants, "fourth", 1);
    let all = series("customers");
    for (name, value) in [
        ("db_client_connection_max{}", 7.0),
        ("db_client_connection_count{db_client_connection_state=\"used\"}", 2.0),
        ("db_client_connection_count{db_client_connection_state=\"idle\"}", 2.0),
        ("poolwarden_checkouts_total{}", 15.0),
        ("db_client_connection_use_time_seconds_count{}", 13.0),
        ("poolwarden_tenants{}", 4.0),
        ("poolwarden_permits_max{}", 7.0),
        ("poolwarden_permits_used{}", 4.0),
        ("poolwarden_permits_wanted{}", 0.0),
        ("poolwarden_tenant_checkouts_total{tenant=\"first\"}", 4.0),
        ("poolwarden_tenant_checkouts_total{tenant=\"second\"}", 5.0),
        ("poolwarden_tenant_checkouts_total{tenant=\"other\"}", 6.0),
        (
            "poolwarden_tenant_connections{tenant=\"second\",db_client_connection_state=\"used\"}",
            1.0,
        ),
        (
            "poolwarden_tenant_connections{tenant=\"other\",db_client_connection_state=\"idle\"}",
            2.0,
        ),
    ] {
        assert_eq!(all.get(name), Some(&value), "{name}: {all:#?}");
    }
    let of_tenants = all.keys().filter(|name| name.contains("tenant=\"")).count();
    assert_eq!(of_tenants, 3 * 9, "two tenants and the others: {all:#?}");
    // No tenant has the other metrics of a pool.
    let text = status::prometheus();
    assert!(!text.contains("pool_name=\"first\""), "{text}");
    drop((held_by_first, held_by_second));
}

#[test]
fn the_sum_keeps_what_tenants_did_that_are_gone() {
    let tenants = tenants("leavers", 4);
    use_often(&tenants, "stays", 2);
    use_often(&tenants, "leaves", 5);
    let held = tenants.get("leaves").expect("a connection");
    let checkouts = |all: &BTreeMap<String, f64>| all["poolwarden_checkouts_total{}"];
    assert_eq!(checkouts(&series("leavers")), 8.0);
    tenants.remove("leaves");
    let all = series("leavers");
    assert_eq!((checkouts(&all), all["poolwarden_tenants{}"]), (8.0, 1.0));
    let used = "db_client_connection_count{db_client_connection_state=\"used\"}";
    assert_eq!(all[used], 1.0, "its connection is still in use");
    drop(held);
    let is_closed = || {
        let now = tenants.snapshot();
        assert_eq!((now.name.as_str(), now.checkouts), ("leavers", 8));
        now.levels.open == 1 && now.closed() == 1 && now.opened == 2
    };
    assert!(eventually(LONG, is_closed), "{}", tenants.snapshot());
    let is_gone = || !series("leavers").keys().any(|name| name.contains("tenant=\"leaves\""));
    assert!(eventually(LONG, is_gone), "a tenant without a pool has no series");
    // It comes back with a new pool, and its counters go on.
    use_often(&tenants, "leaves", 1);
    let all = series("leavers");
    assert_eq!(all["poolwarden_tenant_checkouts_total{tenant=\"leaves\"}"], 7.0);
    assert_eq!(checkouts(&all), 9.0);
    assert_eq!(all["db_client_connection_use_time_seconds_count{}"], 9.0);
}

#[test]
fn a_name_that_is_taken_gets_a_number_and_tenants_that_are_dropped_vanish() {
    let (one, two) = (tenants("same", 1), tenants("same", 2));
    assert_eq!(series("same")["poolwarden_permits_max{}"], 1.0);
    assert_eq!(series("same (2)")["poolwarden_permits_max{}"], 2.0);
    drop((one, two));
    assert!(series("same").is_empty() && series("same (2)").is_empty());
}

#[test]
fn a_tenants_hostile_name_stays_one_short_label() {
    let tenants = tenants("hostile", 3);
    let long = format!("{HOSTILE}{}", "x".repeat(20));
    for tenant in [HOSTILE, &long, "other"] {
        use_often(&tenants, tenant, 1);
    }
    let all = series("hostile");
    let checkouts = |name: &&String| name.starts_with("poolwarden_tenant_checkouts_total");
    let labels: Vec<_> = all.keys().filter(checkouts).collect();
    assert_eq!(labels.len(), 4, "{labels:?}");
    assert!(labels.iter().all(|label| label.chars().count() < 130), "{labels:?}");
    assert_eq!(all["poolwarden_tenant_checkouts_total{tenant=\"other\"}"], 0.0);
    assert_eq!(all["poolwarden_tenant_checkouts_total{tenant=\"other (tenant)\"}"], 1.0);
    assert!(!status::html().contains("<img"), "it became an element");
}

#[test]
fn the_page_lists_the_busiest_tenants_first_and_the_others_as_one_row() {
    let tenants = tenants("on the page", 9).with_series(2);
    let held = tenants.get("holder").expect("a connection");
    for tenant in ["a", "b", "c"] {
        use_often(&tenants, tenant, 2);
    }
    let page = || {
        let page = status::html();
        let own = page.split("<h2>on the page</h2>").nth(1).unwrap_or_default();
        own.split("</section>").next().unwrap_or_default().to_owned()
    };
    // Which one is busy is known at the second look.
    let is_first = || page().contains("<th>time waited</th></tr>\n<tr><td>holder</td>");
    assert!(eventually(LONG, is_first), "{}", page());
    let page = page();
    for wanted in [
        "<dt>permits</dt><dd>9</dd>",
        "<dt>used</dt><dd>4</dd>",
        "<dt>wanted</dt><dd>0</dd>",
        "tenants with a pool: 4",
        "<span class=\"dim\">2 others</span>",
    ] {
        assert!(page.contains(wanted), "{wanted}\n{page}");
    }
    drop(held);
}

#[cfg(feature = "serde")]
#[test]
fn the_json_has_the_tenants() {
    let tenants = tenants("in JSON", 3).with_series(1);
    use_often(&tenants, HOSTILE, 1);
    // It is the busiest whenever another test looks.
    let held = tenants.get(HOSTILE).expect("a connection");
    use_often(&tenants, "b", 1);
    let all: serde_json::Value = serde_json::from_str(&status::json()).expect("valid JSON");
    let mut pools = all["pools"].as_array().expect("an array").iter();
    let one = pools.find(|one| one["name"] == "in JSON").expect("the tenants");
    assert_eq!((&one["checkouts"], &one["max_size"]), (&3.into(), &3.into()));
    let own = &one["tenants"];
    assert_eq!(
        (&own["count"], &own["permits"], &own["permits_used"]),
        (&2.into(), &3.into(), &2.into())
    );
    assert_eq!(own["busiest"].as_array().expect("an array").len(), 1);
    assert_eq!(own["busiest"][0]["tenant"], HOSTILE);
    assert_eq!(own["busiest"][0]["checkouts"], 2);
    assert_eq!((&own["busiest"][0]["in_use"], &own["other"]["checkouts"]), (&1.into(), &1.into()));
    drop(held);
}

/// Threads use tenants, tenants vanish and come back, and two readers look at the same time: no
/// counter falls between two looks of one reader.
#[test]
fn no_counter_falls_while_tenants_come_and_go() {
    let tenants = tenants("churn", 4).with_series(3).with_idle_timeout(Duration::from_millis(1));
    let done = std::sync::atomic::AtomicBool::new(false);
    let is_done = || done.load(std::sync::atomic::Ordering::SeqCst);
    let look = || {
        let mut before: BTreeMap<String, f64> = BTreeMap::new();
        let mut looks = 0;
        while !is_done() || looks < 2 {
            looks += 1;
            for (name, value) in series("churn") {
                let is_counter = ["_total", "_count{}", "_sum{}", "_bucket"];
                if is_counter.iter().any(|part| name.contains(part)) {
                    let last = before.insert(name.clone(), value).unwrap_or(0.0);
                    assert!(last <= value, "{name} fell from {last} to {value}");
                }
            }
        }
        before
    };
    let seen = std::thread::scope(|scope| {
        let lookers = [scope.spawn(look), scope.spawn(look)];
        let workers: Vec<_> = (0..3)
            .map(|thread| {
                let tenants = &tenants;
                scope.spawn(move || {
                    for turn in 0..150 {
                        use_often(tenants, &format!("{}", (turn * 5 + thread * 3) % 11), 1);
                        if turn % 10 == 0 {
                            tenants.remove(&format!("{}", turn % 11));
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        lookers.map(|looker| looker.join().expect("no counter falls"))
    });
    assert!(seen.iter().all(|seen| seen["poolwarden_checkouts_total{}"] <= 450.0));
    let settled = || series("churn")["poolwarden_checkouts_total{}"] == 450.0;
    assert!(eventually(LONG, settled), "{:?}", tenants.snapshot());
}
