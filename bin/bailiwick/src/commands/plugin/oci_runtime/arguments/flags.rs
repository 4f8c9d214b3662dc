//! The flags that runc knows, in its versions 1.1 to 1.3: those of the program, and those of the commands that the gate looks at.

/// A flag and what it takes.
pub(super) struct Flag {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) takes_value: bool,
}

pub(super) const GLOBAL_FLAGS: &[Flag] = &[
    switch("debug"),
    value("log"),
    value("log-format"),
    value("root"),
    value("criu"),
    switch("systemd-cgroup"),
    value("rootless"),
];
pub(super) const CREATE_FLAGS: &[Flag] = &[
    short_value("bundle", 'b'),
    value("console-socket"),
    value("pidfd-socket"),
    value("pid-file"),
    switch("no-pivot"),
    switch("no-new-keyring"),
    value("preserve-fds"),
];
pub(super) const RUN_FLAGS: &[Flag] = &[
    short_value("bundle", 'b'),
    value("console-socket"),
    value("pidfd-socket"),
    short_switch("detach", 'd'),
    switch("keep"),
    value("pid-file"),
    switch("no-subreaper"),
    switch("no-pivot"),
    switch("no-new-keyring"),
    value("preserve-fds"),
];
pub(super) const RESTORE_FLAGS: &[Flag] = &[
    short_value("bundle", 'b'),
    value("console-socket"),
    value("image-path"),
    value("work-path"),
    switch("tcp-established"),
    switch("ext-unix-sk"),
    switch("shell-job"),
    switch("file-locks"),
    value("manage-cgroups-mode"),
    short_switch("detach", 'd'),
    value("pid-file"),
    switch("no-subreaper"),
    switch("no-pivot"),
    value("empty-ns"),
    switch("auto-dedup"),
    switch("lazy-pages"),
    value("lsm-profile"),
    value("lsm-mount-context"),
    switch("link-remap"),
];
pub(super) const CHECKPOINT_FLAGS: &[Flag] = &[
    value("image-path"),
    value("work-path"),
    value("parent-path"),
    switch("leave-running"),
    switch("tcp-established"),
    switch("tcp-skip-in-flight"),
    switch("link-remap"),
    switch("ext-unix-sk"),
    switch("shell-job"),
    switch("lazy-pages"),
    value("status-fd"),
    value("page-server"),
    switch("file-locks"),
    switch("pre-dump"),
    value("manage-cgroups-mode"),
    value("empty-ns"),
    switch("auto-dedup"),
];
pub(super) const EXEC_FLAGS: &[Flag] = &[
    short_value("process", 'p'),
    value("console-socket"),
    value("pidfd-socket"),
    value("cwd"),
    short_value("env", 'e'),
    short_switch("tty", 't'),
    short_value("user", 'u'),
    short_value("additional-gids", 'g'),
    short_switch("detach", 'd'),
    value("pid-file"),
    value("process-label"),
    value("apparmor"),
    switch("no-new-privs"),
    short_value("cap", 'c'),
    value("preserve-fds"),
    value("cgroup"),
    switch("ignore-paused"),
    switch("no-subreaper"),
];

const fn value(long: &'static str) -> Flag {
    Flag {
        long,
        short: None,
        takes_value: true,
    }
}

const fn short_value(long: &'static str, short: char) -> Flag {
    Flag {
        long,
        short: Some(short),
        takes_value: true,
    }
}

const fn switch(long: &'static str) -> Flag {
    Flag {
        long,
        short: None,
        takes_value: false,
    }
}

const fn short_switch(long: &'static str, short: char) -> Flag {
    Flag {
        long,
        short: Some(short),
        takes_value: false,
    }
}
