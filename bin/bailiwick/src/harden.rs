//! What a process with keys in its memory asks of the kernel: no swap, no core dump, no debugger of another user.

use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
};

/// Keeps this process's memory out of swap and core files. What the kernel refuses is said, and does not stop the
/// program: a lab without the right to lock memory is still a lab.
pub(crate) fn keep_memory() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let refused = [
        (
            "core files can't be switched off",
            setrlimit(Resource::Core, none).err(),
        ),
        (
            "other processes of this user may read this one's memory",
            set_dumpable_behavior(DumpableBehavior::NotDumpable).err(),
        ),
        (
            "memory can't be locked: keys may reach swap",
            mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).err(),
        ),
    ];
    for (what, error) in refused {
        if let Some(error) = error {
            tracing::warn!(%error, "{what}");
        }
    }
}

/// Keeps keys out of core files; for programs that run for one question and whose memory is too large to be locked. What the
/// kernel refuses stops nobody: the limit can only be lowered, and that is never refused.
pub(crate) fn no_core() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
}

#[cfg(test)]
mod tests {
    use rustix::process::getrlimit;

    use super::*;

    #[test]
    fn cores_are_off_for_good() {
        no_core();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
