//! Models of pools that share one permit.

use crate::Model;
use crate::models::{join_all, model, spawn};
use crate::permit_group::PermitGroup;
use crate::sim::{Conn, Sim, at};
use std::sync::Arc;

pub(crate) const ALL: &[Model] = &[
    ("a connection checked in while another pool wants its permit is given up", checked_in),
    ("a shared permit released while another pool joins its queue is used", released),
    ("an idle connection is given up for another pool", idle),
    ("a shared permit serves two pools in turn", two_pools),
    ("a shared permit granted to a pool whose caller leaves goes to the next one", leaver),
    ("a shared permit granted to a pool that is dropped goes to the next one", dropped),
];

/// Two pools that share one permit; the first has its connection checked out.
fn two() -> (Arc<PermitGroup>, [Arc<Sim>; 2], Conn) {
    let group = PermitGroup::new(1);
    let pools = [(); 2].map(|()| Sim::sharing(&group));
    let conn = pools[0].get(at(0)).expect("the permit is free");
    (group, pools, conn)
}

fn borrow(sim: &Sim) {
    let conn = sim.get(at(0)).expect("the waiter is served");
    sim.check_in_shared(conn, at(10));
}

fn assert_one_idle(group: &Arc<PermitGroup>, pools: &[Arc<Sim>]) {
    let idle: u32 = pools.iter().map(|pool| pool.core.counts().idle).sum();
    assert_eq!((idle, group.usage().used, group.usage().wanted), (1, 1, 0));
}

fn checked_in() {
    model(2, || {
        let (group, pools, conn) = two();
        let caller = spawn(&pools[1], borrow);
        pools[0].check_in_shared(conn, at(10));
        join_all([caller]);
        assert_one_idle(&group, &pools);
    });
}

fn released() {
    model(3, || {
        let (group, pools, conn) = two();
        let caller = spawn(&pools[1], borrow);
        pools[0].discard(conn);
        join_all([caller]);
        assert_one_idle(&group, &pools);
    });
}

fn idle() {
    model(1, || {
        let (group, pools, conn) = two();
        pools[0].check_in_shared(conn, at(0));
        let caller = spawn(&pools[0], borrow);
        borrow(&pools[1]);
        join_all([caller]);
        assert_one_idle(&group, &pools);
    });
}

fn two_pools() {
    model(1, || {
        let (group, pools, conn) = two();
        let third = Sim::sharing(&group);
        let callers = [spawn(&pools[1], borrow), spawn(&third, borrow)];
        pools[0].discard(conn);
        join_all(callers);
        assert_eq!((group.usage().used, group.usage().wanted), (1, 0));
    });
}

fn leaver() {
    model(1, || {
        let (group, pools, conn) = two();
        let third = Sim::sharing(&group);
        let (ticket, orders) = third.queue_up(at(0));
        third.start_dials(orders, at(0));
        let callers = [
            spawn(&pools[1], borrow),
            spawn(&third, move |sim| {
                // What it gets at the last moment is checked in as any other.
                if let Some(conn) = sim.leave_with(&ticket) {
                    sim.check_in_shared(conn, at(10));
                }
            }),
        ];
        pools[0].discard(conn);
        join_all(callers);
        assert_eq!(group.usage().used, 1);
    });
}

fn dropped() {
    model(1, || {
        let (group, pools, conn) = two();
        let third = Sim::sharing(&group);
        let (ticket, orders) = third.queue_up(at(0));
        third.start_dials(orders, at(0));
        let closer = spawn(&third, move |sim| {
            drop(sim.core.close());
            sim.permits.retire();
            sim.leave(&ticket, at(10));
        });
        let caller = spawn(&pools[1], borrow);
        pools[0].discard(conn);
        join_all([caller, closer]);
        assert_eq!(third.core.counts().used_permits, 0);
        assert_eq!(group.usage().used, 1);
    });
}
