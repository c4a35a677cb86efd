//! No thread can be started.
//!
//! The limit, `RLIMIT_NPROC`, counts all processes of a user, whichever process started
//! them: at zero none can start, however many there are. It does not apply to the
//! real user root, nor a thread with one of two capabilities ("getrlimit(2)").

use std::thread;

use nix::unistd::{Uid, User, getuid, setresuid};
use rustix::process::Resource;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::limit::{self, Lowered};

/// The capabilities that let a thread start others past the limit.
const EXEMPT: CapabilitySet = CapabilitySet::SYS_RESOURCE.union(CapabilitySet::SYS_ADMIN);

/// Gives up, for this thread and all that it starts, what would exempt them.
///
/// A program that root starts has all capabilities again.
pub(super) fn prepare() {
    let mut ours = capabilities(None).expect("a thread may read its capabilities");
    ours.effective.remove(EXEMPT);
    ours.inheritable.remove(EXEMPT);
    set_capabilities(None, ours).expect("a thread may give up capabilities");
}

/// The limit of zero, under a real user that it applies to.
#[derive(Debug)]
pub(super) struct Forbidden {
    // In this order.
    _limit: Lowered,
    _user: RealUser,
}

/// Forbids new threads.
pub(super) fn forbid() -> Forbidden {
    let _user = RealUser::bound_by_limits();
    let _limit = limit::lower(Resource::Nproc, 0);
    let started = thread::Builder::new().spawn(|| ());
    assert!(started.is_err(), "the limit on threads has no effect");
    Forbidden { _limit, _user }
}

/// The previous real user of this process, restored on drop.
#[derive(Debug)]
struct RealUser {
    before: Uid,
}

impl RealUser {
    // The effective user stays, and with it the right to change back and all files.
    fn bound_by_limits() -> RealUser {
        let before = getuid();
        if before.is_root() {
            let nobody =
                User::from_name("nobody").ok().flatten().expect("this system has a user nobody");
            become_real(nobody.uid);
        }
        RealUser { before }
    }
}

impl Drop for RealUser {
    fn drop(&mut self) {
        become_real(self.before);
    }
}

// libc changes all threads.
fn become_real(user: Uid) {
    let effective = Uid::effective();
    setresuid(user, effective, effective).expect("root may change its real user");
}
