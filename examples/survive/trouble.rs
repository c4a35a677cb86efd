//! What happens to the server, second by second.

use crate::stage::Stage;
use support::proxy::{Fault, Mode};

/// What is done in one second.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
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

use Deed::*;

/// The play; it is repeated.
const SCENES: &[(Deed, &str)] = &[
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
    (Thaw, "  goes on (CONT)"),
    (Nothing, ""),
    (Crash, "server crashed (kill -9)"),
    (Nothing, ""),
    (FillUp, "no slot left"),
    (StillFull, "  still full"),
    (Release, "  slots free again"),
    (Nothing, ""),
    (Refuse, "connections refused"),
    (Listen, "  accepted again"),
    (Nothing, ""),
    (BlackHole, "links swallow all bytes"),
    (CutHole, "  cut (RST)"),
    (Nothing, ""),
    (Nothing, ""),
];

/// Does what the play says, and leaves the stage in order.
pub struct Director<'a> {
    stage: &'a Stage,
    last: Deed,
}

impl<'a> Director<'a> {
    pub fn new(stage: &'a Stage) -> Director<'a> {
        Director { stage, last: Nothing }
    }

    /// Does the deed of this second; returns its name.
    pub fn act(&mut self, second: u64) -> String {
        let place = usize::try_from(second - 1).expect("seconds fit") % SCENES.len();
        let (deed, name) = SCENES[place];
        self.perform(deed);
        self.last = deed;
        name.to_owned()
    }

    fn perform(&self, deed: Deed) {
        match deed {
            Nothing | StillFrozen | StillFull => {}
            KillSessions => self.stage.kill_sessions(),
            CutLinks | CutHole => self.stage.apply(&Fault::Rst),
            Restart => self.stage.restart(),
            Freeze => self.stage.freeze(),
            Thaw => self.stage.thaw(),
            Crash => self.stage.crash(),
            FillUp => self.stage.hog(),
            Release => self.stage.release_hogs(),
            Refuse => {
                self.stage.set_mode(&Mode::Refuse);
                self.stage.apply(&Fault::Rst);
            }
            Listen => self.stage.set_mode(&Mode::Pass),
            BlackHole => self.stage.apply(&Fault::Stall),
        }
    }

    /// Ends a trouble that is still going on.
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
