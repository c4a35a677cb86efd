//! The faults that are injected into the server, second by second.

use crate::testbed::Testbed;
use support::proxy::{Fault, Mode};

/// The action of one second.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Nothing,
    KillSessions,
    CutLinks,
    Restart,
    Freeze,
    StillFrozen,
    Thaw,
    Crash,
    FillUp,
    StillFull,
    Release,
    Refuse,
    Listen,
    BlackHole,
    CutHole,
}

use Action::*;

/// The schedule; it repeats.
const SCHEDULE: &[(Action, &str)] = &[
    (Nothing, ""),
    (Nothing, ""),
    (KillSessions, "all sessions killed"),
    (Nothing, ""),
    (CutLinks, "all links cut (RST)"),
    (Nothing, ""),
    (Restart, "server restarted"),
    (Nothing, ""),
    (Freeze, "server stopped (STOP)"),
    (StillFrozen, "  still stopped"),
    (StillFrozen, "  still stopped"),
    (Thaw, "  resumed (CONT)"),
    (Nothing, ""),
    (Crash, "server crashed (kill -9)"),
    (Nothing, ""),
    (FillUp, "all connections taken"),
    (StillFull, "  still taken"),
    (Release, "  released"),
    (Nothing, ""),
    (Refuse, "connections refused"),
    (Listen, "  accepted again"),
    (Nothing, ""),
    (BlackHole, "links drop all bytes"),
    (CutHole, "  cut (RST)"),
    (Nothing, ""),
    (Nothing, ""),
];

/// Carries out the schedule, and ends with the server working.
pub struct FaultInjector<'a> {
    testbed: &'a Testbed,
    last: Action,
}

impl<'a> FaultInjector<'a> {
    pub fn new(testbed: &'a Testbed) -> FaultInjector<'a> {
        FaultInjector { testbed, last: Nothing }
    }

    /// Carries out the action of this second; returns its name.
    pub fn inject(&mut self, second: u64) -> String {
        let index = usize::try_from(second - 1).expect("seconds fit") % SCHEDULE.len();
        let (action, name) = SCHEDULE[index];
        self.perform(action);
        self.last = action;
        name.to_owned()
    }

    fn perform(&self, action: Action) {
        match action {
            Nothing | StillFrozen | StillFull => {}
            KillSessions => self.testbed.kill_sessions(),
            CutLinks | CutHole => self.testbed.apply(&Fault::Rst),
            Restart => self.testbed.restart(),
            Freeze => self.testbed.freeze(),
            Thaw => self.testbed.thaw(),
            Crash => self.testbed.crash(),
            FillUp => self.testbed.take_all_connections(),
            Release => self.testbed.release_connections(),
            Refuse => {
                self.testbed.set_mode(&Mode::Refuse);
                self.testbed.apply(&Fault::Rst);
            }
            Listen => self.testbed.set_mode(&Mode::Pass),
            BlackHole => self.testbed.apply(&Fault::Stall),
        }
    }

    /// Ends a fault that is still active.
    pub fn end(&self) {
        self.perform(match self.last {
            Freeze | StillFrozen => Thaw,
            FillUp | StillFull => Release,
            Refuse => Listen,
            BlackHole => CutHole,
            _ => Nothing,
        });
    }
}
