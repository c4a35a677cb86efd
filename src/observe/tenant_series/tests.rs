use super::*;
use std::collections::BTreeMap;

fn label(tenant: usize) -> Arc<str> {
    format!("tenant {tenant}").into()
}

fn uses(checkouts: u64, seconds: u64) -> TenantTotals {
    let used = Duration::from_secs(seconds);
    TenantTotals { checkouts, used, ..TenantTotals::default() }
}

/// The series that exist, with their check-outs; a series that is hidden does not.
fn checkouts(series: &TenantSeries) -> BTreeMap<String, u64> {
    let all = series.shown().into_iter().chain([series.other()]);
    all.map(|(label, totals)| (label.to_string(), totals.checkouts)).collect()
}

/// What was counted in the series that are hidden.
fn hidden(series: &TenantSeries) -> Vec<u64> {
    let hidden = series.tenants.values().filter(|tenant| !tenant.is_shown);
    let counted = hidden.filter_map(|tenant| Some(tenant.counted?.checkouts));
    counted.collect()
}

fn shown(series: &TenantSeries) -> Vec<String> {
    series.shown().iter().map(|(label, _)| label.to_string()).collect()
}

#[test]
fn the_busiest_have_series_and_the_rest_is_counted_together() {
    let (mut series, now) = (TenantSeries::new(2), Instant::now());
    (0..4).for_each(|tenant| series.enter(&label(tenant)));
    assert_eq!(shown(&series), ["tenant 0", "tenant 1"], "the first ones, from their first use on");
    for tenant in 0..4 {
        series.count(&label(tenant), &uses(10, 1 + tenant as u64 * 10));
    }
    series.rank(now, |_| 0);
    assert_eq!(shown(&series), ["tenant 3", "tenant 2"]);
    let expected = [("other", 20), ("tenant 2", 0), ("tenant 3", 0)];
    let expected = expected.map(|(label, count)| (label.to_owned(), count));
    assert_eq!(checkouts(&series), BTreeMap::from(expected));
    assert_eq!(hidden(&series), [10, 10], "what was counted stays where it was");
}

#[test]
fn a_tenant_that_uses_connections_without_giving_them_back_is_busy() {
    let (mut series, now) = (TenantSeries::new(1), Instant::now());
    (0..2).for_each(|tenant| series.enter(&label(tenant)));
    series.rank(now, |_| 0);
    series.count(&label(0), &uses(1, 2));
    series.rank(now + RANK_EVERY, |tenant| u32::from(tenant == "tenant 1"));
    assert_eq!(shown(&series), ["tenant 1"]);
}

#[test]
fn tenants_that_are_alike_do_not_take_turns() {
    let (mut series, mut now) = (TenantSeries::new(1), Instant::now());
    (0..2).for_each(|tenant| series.enter(&label(tenant)));
    for turn in 0..100 {
        series.count(&label(turn % 2), &uses(1, 1));
        now += RANK_EVERY;
        series.rank(now, |_| 0);
        assert_eq!(shown(&series), ["tenant 0"], "turn {turn}");
    }
    // The load of long ago does not count for ever.
    for _ in 0..20 {
        series.count(&label(1), &uses(1, 1));
        now += HALF_LIFE;
        series.rank(now, |_| 0);
    }
    assert_eq!(shown(&series), ["tenant 1"]);
}

#[test]
fn a_tenant_that_comes_back_goes_on_with_its_series() {
    let mut series = TenantSeries::new(2);
    series.enter(&label(0));
    series.count(&label(0), &uses(7, 0));
    series.leave(&label(0));
    assert_eq!(shown(&series), [""; 0], "a tenant without a pool has no series");
    series.enter(&label(0));
    assert_eq!(checkouts(&series)["tenant 0"], 7);
    series.count(&label(0), &uses(1, 0));
    assert_eq!(checkouts(&series)["tenant 0"], 8);
}

#[test]
fn the_memory_of_tenants_that_are_gone_is_limited() {
    let mut series = TenantSeries::new(1);
    for tenant in 0..3 * REMEMBERED {
        series.enter(&label(tenant));
        series.leave(&label(tenant));
    }
    assert_eq!(series.tenants.len(), REMEMBERED);
    assert!(series.tenants.contains_key(&label(3 * REMEMBERED - 1)));
    // Those that never had a series are not remembered at all.
    let mut series = TenantSeries::new(0);
    series.enter(&label(0));
    series.leave(&label(0));
    assert!(series.tenants.is_empty());
}

/// A random schedule of uses, rankings, tenants that vanish and tenants that come back.
#[test]
fn no_series_ever_falls_and_all_together_count_everything() {
    let (mut random, mut now) = (fastrand_like(42), Instant::now());
    for most in 0..6 {
        let mut series = TenantSeries::new(most);
        let (mut present, mut total) = (vec![false; 12], 0);
        let mut before = BTreeMap::new();
        for _ in 0..5_000 {
            let tenant = random() % 12;
            let label = label(tenant);
            match random() % 8 {
                0 if !present[tenant] => {
                    series.enter(&label);
                    present[tenant] = true;
                }
                1 if present[tenant] => {
                    series.leave(&label);
                    present[tenant] = false;
                }
                2 => {
                    now += Duration::from_millis(random() as u64 % 20_000);
                    series.rank(now, |label| label.len() as u32 % 3);
                }
                _ if present[tenant] => {
                    series.count(&label, &uses(1, random() as u64 % 5));
                    total += 1;
                }
                _ => {}
            }
            let all = checkouts(&series);
            assert!(all.len() <= most + 1, "{all:?}");
            for (label, count) in &all {
                let last = before.insert(label.clone(), *count).unwrap_or(0);
                assert!(last <= *count, "{label} fell from {last} to {count}");
            }
            assert_eq!(all.values().sum::<u64>() + hidden(&series).iter().sum::<u64>(), total);
        }
        assert!(total > 1_000);
    }
}

/// Numbers that look random, the same in every run (Knuth, MMIX).
fn fastrand_like(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    }
}
