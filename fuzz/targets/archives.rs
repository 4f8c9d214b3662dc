//! See `fuzz::archives`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::archives::check(input);
});
