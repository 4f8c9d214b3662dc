//! Where random bytes come from, as far as the build decides it.

/// Cargo gives what `.cargo/config.toml` sets to the compiler, as it gave it to the build of aws-lc.
#[test]
fn the_processor_s_jitter_is_left_out() {
    assert_eq!(option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY"), Some("1"));
}
